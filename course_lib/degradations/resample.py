"""Lost resolution: degraded = U(D(clean)), D down by a real factor s >= 1, U up again to the same size.

Per axis of n pixels, D leaves m = round(n/s) of them and U makes n again; both are linear. Either D and U are bicubic with a = -1/2,
the kernel stretched by n/m on the way down against aliasing (Keys, "Cubic convolution interpolation for digital image processing",
IEEE TASSP 29(6), 1981; the same as Pillow's, and as the low-resolution sets DIV2K and Flickr2K are made with but for their borders);
or D is the mean over the area that a new pixel covers (a sensor with bigger pixels) and U is bicubic.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image


@dataclass(frozen=True)
class Resample(Parameters):
    """Down-sampling and up-sampling to the old size: detail finer than the coarse grid is gone."""

    factor: float = parameter(3.0, draw=(1.5, 4), limits=(1, 16), means="how many times fewer pixels a side, any real number")
    area: int = parameter(0, draw=(0, 0), limits=(0, 1), means="way down: 0 bicubic against aliasing, 1 mean over the area a pixel covers")

    kind = "resample"
    equation = r"I = U_s(D_s(J))"
    zero = {"factor": 1.0}
    strength = "factor"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return resample(clean, self, seeds, clip=clip)


def resample(clean: Tensor, parameters: Resample | Sequence[Resample], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Shrink (B, 3, H, W) by `factor` and enlarge it again; same shape, dtype and device. Nothing is drawn.

    Bicubic weights are negative in places, so an edge overshoots by a few per cent: `clip=False` keeps that.
    Raises ValueError for a wrong shape, seeds or parameters.
    """
    return per_image(clean, parameters, seeds, clip, _down_and_up)


def shrink(image: Tensor, factor: float, area: bool = False) -> Tensor:
    """(B, C, H, W) -> (B, C, round(H/factor), round(W/factor)), a pixel a side at least: the D of the module's equation."""
    height, width = image.shape[-2:]
    small = tuple(max(1, int(side / factor + 0.5)) for side in (height, width))
    if not area:
        return F.interpolate(image, size=small, mode="bicubic", antialias=True, align_corners=False)
    down, across = (_area_weights(side, new).to(image.device) for side, new in zip((height, width), small, strict=True))
    return (down @ image.double() @ across.T).to(image.dtype)  # in double, which no matmul setting of a training run rounds


def _down_and_up(image: Tensor, own: Resample, _rng: np.random.Generator) -> Tensor:
    exact = image if image.dtype == torch.float64 else image.float()  # the resizing kernels do not know half precision on every device
    small = shrink(exact, own.factor, bool(own.area))
    # antialias changes nothing on the way up but the kernel: a = -1/2, as on the way down, where plain bicubic would have a = -3/4
    return F.interpolate(small, size=image.shape[-2:], mode="bicubic", antialias=True, align_corners=False)


@functools.lru_cache(maxsize=64)
def _area_weights(old: int, new: int) -> Tensor:
    """(new, old) float64: the share of each old pixel in the mean over a new one, which covers old/new of them."""
    edges = np.arange(new + 1) * (old / new)
    pixel = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return torch.from_numpy(overlap.clip(min=0) * (new / old))
