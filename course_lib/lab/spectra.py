"""Which frequencies a task adds and which it takes away: radially averaged power spectra of pictures.

Welch's method (1967) in two dimensions: overlapping square segments x of side N, each less its weighted mean and times a Hann window w,

    D(f) = |sum_n w(n) x(n) exp(-2 pi i f n)|^2 / sum_n w(n)^2       density, per (cycle per pixel)^2

averaged over segments, channels and images, then over all directions of f. So scaled, white noise of variance s^2 reads s^2 at every
frequency, and by Parseval the density integrates to the windowed variance: (1/N^2) sum_f D(f) = sum w^2 x^2 / sum w^2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.evaluation import restore
from course_lib.lab.labels import told

COLUMNS = ["task", "what", "frequency", "power"]
PARTS = ("input", "output", "clean", "residual", "wanted", "error")


@dataclass(frozen=True)
class Spectrum:
    """Radial spectrum: `frequency` in cycles per pixel and `power` (density), both (bins,); `count` 2-D frequencies in each bin.

    The mean frequency of the members stands for a bin. Beyond 0.5 lie only the corners of the square, of diagonal frequencies.
    """

    frequency: Tensor
    power: Tensor
    count: Tensor

    def variance(self, low: float = 0.0, high: float = 1.0) -> float:
        """The part of the variance between two frequencies in cycles per pixel, low <= f < high, by whole bins."""
        inside = (self.frequency >= low) & (self.frequency < high)
        return float((self.power * self.count)[inside].sum() / self.count.sum())


def segments(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (S, side, side) float64: squares half a side apart, of every channel. Raises ValueError for smaller images."""
    if images.ndim != 4 or min(images.shape[-2:]) < side or side < 4:
        raise ValueError(f"a spectrum with segments of {side} pixels (4 or more) needs (B, C, H, W) no smaller, not {tuple(images.shape)}")
    step = side // 2
    return images.detach().double().unfold(2, side, step).unfold(3, side, step).reshape(-1, side, side)


def density(images: Tensor, side: int = 64) -> Tensor:
    """Mean two-dimensional density (side, side), in `torch.fft.fft2`'s order of frequencies."""
    pieces = segments(images, side)
    line = torch.hann_window(side, periodic=True, dtype=torch.float64, device=pieces.device)
    window = line[:, None] * line
    mean = (pieces * window).sum((1, 2), keepdim=True) / window.sum()  # so that nothing of the brightness leaks into low frequencies
    return torch.fft.fft2((pieces - mean) * window).abs().square().mean(0) / window.square().sum()


def radial_spectrum(images: Tensor, side: int = 64) -> Spectrum:
    """Spectrum of (B, C, H, W), mean over images, channels, places and directions; bins 1/side cycles per pixel wide from 1/side on.

    The zero frequency, which the mean's removal empties, makes a bin of its own at 0. Raises ValueError for images below `side` pixels.
    """
    power = density(images, side).cpu().flatten()
    axis = torch.fft.fftfreq(side, dtype=torch.float64)
    radius = (axis[:, None].square() + axis.square()).sqrt().flatten()
    place = (radius * side).round().long()
    count = torch.bincount(place).double()
    return Spectrum(torch.bincount(place, radius) / count, torch.bincount(place, power) / count, count.long())


def parts(degraded: Tensor, output: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """The six pictures of `PARTS`: residual = output - input is what the model adds, wanted = clean - input what it should add."""
    return dict(input=degraded, output=output, clean=clean, residual=output - degraded, wanted=clean - degraded, error=output - clean)


def task_spectra(model: nn.Module, pairs: Mapping[str, Sequence[tuple[Tensor, Tensor]]], side: int = 64) -> list[dict]:
    """Rows of `COLUMNS` for every task and each of `PARTS`, mean over its pairs (degraded, clean), each (1, 3, H, W); up to 0.5.

    A model with `TaskAware` layers is told the task's place in `pairs`. Plot with logarithmic power. The model's mode comes back.
    """
    rows, training, device = [], model.training, next(model.parameters()).device
    model.eval()
    try:
        for label, (task, images) in enumerate(pairs.items()):
            sums: dict[str, Tensor] = {}
            for degraded, clean in images:
                with told(model, label):
                    output = restore(model, degraded.to(device)).to(degraded)
                for what, picture in parts(degraded, output, clean).items():
                    sums[what] = sums.get(what, 0) + radial_spectrum(picture, side).power / len(images)
            frequency = radial_spectrum(images[0][1], side).frequency
            for what, power in sums.items():
                rows += [
                    dict(task=task, what=what, frequency=float(f), power=float(p))
                    for f, p in zip(frequency, power, strict=True)
                    if f <= 0.5
                ]
    finally:
        model.train(training)
    return rows
