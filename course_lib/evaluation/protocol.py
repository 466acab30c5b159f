"""How the papers measure: the same noise, cropping and rounding, so that numbers can be compared.

| | `promptir` | `restormer` |
|---|---|---|
| noise | one stream seeded 0 for the whole set, files in sorted order | seeded 0 again for every image |
| degraded image | clipped and truncated to 8 bit | float, not clipped |
| size | centre crop to multiples of 16 | padded by reflection to multiples of 8 |
| restored image | clipped to [0, 1] | clipped to [0, 1] and rounded to 8 bit, a PNG in the official code |

Pairs that a data set brings along are measured by `promptir` or `restormer` (both without the noise), or by `onerestore`, CDD-11's own:
the whole image, the result rounded to 8 bit. All of them take PSNR and SSIM on full RGB.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.evaluation.tiled import restore
from course_lib.images import load_image, to_uint8
from course_lib.metrics import psnr, ssim

PROTOCOLS = ("promptir", "restormer")
PAIR_PROTOCOLS = ("promptir", "restormer", "onerestore")
SAVED_AS_PNG = ("restormer", "onerestore")  # the official code saves the result and measures the file


@dataclass
class Score:
    """One image: PSNR in dB and SSIM of the degraded input and of the restored result against the clean image."""

    image: str
    degraded_psnr: float
    degraded_ssim: float
    restored_psnr: float
    restored_ssim: float


def centre_crop(image: Tensor, multiple: int = 16, side: int | None = None) -> Tensor:
    """The middle of (..., H, W), both sides multiples of `multiple` and at most `side`. Raises ValueError when a side is too short."""
    height, width = image.shape[-2:]
    h, w = (min(side or n, n) // multiple * multiple for n in (height, width))
    if not h or not w:
        raise ValueError(f"an image of {height}x{width} has nothing left after cropping to multiples of {multiple}")
    top, left = (height - h) // 2, (width - w) // 2
    return image[..., top : top + h, left : left + w]


def given_pairs(pairs: Iterable, protocol: str) -> Iterable[tuple[str, Tensor, Tensor]]:
    """(name, degraded, clean), each (1, 3, H, W), of `read_pairs` pairs by one of `PAIR_PROTOCOLS`. Raises ValueError.

    The error names the file of a pair that has no degraded image; `load` names those whose sizes differ.
    """
    if protocol not in PAIR_PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; there are {', '.join(PAIR_PROTOCOLS)}")
    for pair in pairs:
        degraded, clean = pair.load()
        if degraded is None:
            raise ValueError(f"{pair.clean}: there is no degraded image to go with it")
        if protocol == "promptir":
            degraded, clean = centre_crop(degraded), centre_crop(clean)
        yield pair.name, degraded[None].contiguous(), clean[None].contiguous()


def noisy_pairs(files: Iterable[Path], sigma: float, protocol: str) -> Iterable[tuple[str, Tensor, Tensor]]:
    """(name, degraded, clean), each (1, 3, H, W), of every file by one of `PROTOCOLS`. Raises ValueError for another protocol."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    stream = np.random.RandomState(0)  # the papers' generator: the legacy one, whose draws are fixed for ever
    for path in sorted(files):
        clean = load_image(path)[None]
        if protocol == "promptir":
            clean = centre_crop(clean)
            pixels = clean[0].permute(1, 2, 0).numpy().astype(np.float64) * 255  # (H, W, 3): the order the noise is drawn in
            noisy = np.clip(np.rint(pixels) + stream.randn(*pixels.shape) * sigma, 0, 255).astype(np.uint8)
            degraded = torch.from_numpy(noisy).permute(2, 0, 1)[None].float() / 255
        else:
            stream.seed(0)
            shape = (clean.shape[2], clean.shape[3], 3)
            noise = torch.from_numpy(stream.normal(0, sigma / 255, shape)).permute(2, 0, 1)[None]
            degraded = (clean.double() + noise).float()
        yield path.stem, degraded.contiguous(), clean.contiguous()


def evaluate(
    model: nn.Module | None,
    pairs: Iterable[tuple[str, Tensor, Tensor]],
    *,
    restorer: Callable[[nn.Module, Tensor], Tensor] = restore,
    clip: bool = True,
    to_8bit: bool = False,
    device: str | torch.device = "cpu",
) -> list[Score]:
    """Score a model (None: the identity) on pairs (name, degraded, clean). The restored image is clipped to [0, 1] unless `clip=False`."""
    scores = []
    for name, degraded, clean in pairs:
        restored = degraded if model is None else restorer(model, degraded.to(device)).cpu()
        if clip:
            restored = restored.clamp(0, 1)
        if to_8bit:
            restored = to_uint8(restored).float() / 255
        numbers = [float(metric(image, clean)) for image in (degraded, restored) for metric in (psnr, ssim)]
        scores.append(Score(name, *numbers))
    return scores


def mean_scores(scores: list[Score]) -> dict[str, float]:
    """Means over the images: the papers average PSNR, not the error. Raises ValueError when there is no image."""
    if not scores:
        raise ValueError("no image was scored")
    keys = ("degraded_psnr", "degraded_ssim", "restored_psnr", "restored_ssim")
    return {key: float(np.mean([getattr(score, key) for score in scores])) for key in keys}
