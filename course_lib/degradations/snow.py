r"""Snow: degraded = clean (1 - mask) + mask, white flakes that cover the scene behind them.

`mask` in [0, 1] is the share of the light that flakes block and replace by their own white. This is the opaque snow of Liu et al.,
"DesnowNet" (IEEE TIP 2018, with white for the chromatic part), and the snow of CDD-11 (Guo et al., "OneRestore", ECCV 2024).
A wet flake is not round and has no sharp edge: each is a blob of uneven radius, swept along its own short path while the shutter is
open, and the less opaque the longer the path is. Flakes of four distances lie over each other: near ones few, large, out of focus and
thin; far ones many, small and sharp. One over the other they cover 1 - (1 - a)(1 - b).

Positions are a Poisson process in the plane, so that a crop and a large picture show the same snow per area.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image
from course_lib.degradations.rain import bell, scattered

POINTS = 1 << 20  # pixels of flakes worked on at once, to bound the memory on large pictures
UNEVEN = 1.24  # the farthest that an uneven outline reaches, in radii
MOST = 0.998  # no flake lets less than 0.2 % of the scene through, so that its logarithm stays finite


class Layer(NamedTuple):
    """Flakes of one distance: share of the number, factors on `size`, `motion` and `opacity`, and softness of the edge in radii."""

    share: float
    size: float
    motion: float
    opacity: float
    soft: float


LAYERS = (  # near, middle, far, dust
    Layer(0.008, 4.0, 2.5, 0.5, 1.2),
    Layer(0.08, 1.7, 1.4, 0.9, 1.5),
    Layer(0.30, 1.0, 1.0, 1.0, 1.5),
    Layer(0.612, 0.55, 0.6, 0.8, 1.5),
)


class Flakes(NamedTuple):
    """What each of n flakes is: arrays (n,) in pixels and radians.

    `phase` is (2, n), how its two- and its three-fold unevenness are turned, or (0, n) for round flakes.
    """

    y: np.ndarray
    x: np.ndarray
    radius: np.ndarray
    path: np.ndarray
    angle: np.ndarray
    phase: np.ndarray
    opacity: np.ndarray


@dataclass(frozen=True)
class Snow(Parameters):
    """Falling snow; the defaults are an even fall (see also HEAVY_SNOW)."""

    kind: ClassVar[str] = "snow"
    equation: ClassVar[str] = r"y = x\,(1-s) + s"
    zero: ClassVar[dict[str, float]] = {"amount": 0.0}
    strength: ClassVar[str] = "amount"

    amount: float = parameter(8.0, draw=(3, 20), limits=(0, 40), unit="per 1000 px", means="flakes per 1000 pixels of the picture")
    size: float = parameter(3.0, draw=(2, 4.5), limits=(0.5, 6), unit="px", means="mean diameter of the far flakes that one can make out")
    motion: float = parameter(3.0, draw=(0, 8), limits=(0, 16), unit="px", means="path of these flakes while the shutter is open")
    angle: float = parameter(20.0, draw=(-50, 50), limits=(-90, 90), unit="degrees", means="from the vertical; > 0 falls to the right")
    spread: float = parameter(12.0, draw=(3, 20), limits=(0, 45), unit="degrees", means="standard deviation of the flakes' directions")
    opacity: float = parameter(0.9, draw=(0.6, 1), limits=(0, 1), means="share of the light that the densest flakes block")

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        """Let this snow fall over (B, 3, H, W) in [0, 1]; see `snow`."""
        return snow(clean, self, seeds, clip=clip)


HEAVY_SNOW = Snow(amount=25, size=3.5, motion=6)


def snow(clean: Tensor, parameters: Snow | Sequence[Snow], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Snow over (B, 3, H, W) in [0, 1]: clean (1 - mask) + mask, same shape, type and device.

    `parameters`: one, or one per image; `seeds`: one per image, or an int (image i gets `seeds + i`). `clip=False` leaves what was
    outside [0, 1] there. Raises ValueError for a wrong shape or number. Source: Liu et al. 2018, with white flakes.
    """
    return per_image(clean, parameters, seeds, clip, _snow_one)


def _snow_one(clean: Tensor, own: Snow, rng: np.random.Generator) -> Tensor:
    return cover(clean, snow_mask(clean.shape, own, rng))


def cover(clean: Tensor, mask: Tensor) -> Tensor:
    """clean (1 - mask) + mask, with a mask (1 or B, 1, h, w) in [0, 1]: 0 leaves a pixel, 1 makes it white. Type and device of `clean`."""
    mask = mask.to(clean)
    return clean * (1 - mask) + mask


def snow_mask(shape: Sequence[int], parameters: Snow, rng: np.random.Generator) -> Tensor:
    """The share of the light that flakes block, (1, 1, h, w) float32 in [0, 1] on the CPU; `shape` ends in (h, w).

    With the same state of `rng` a larger amount adds flakes to those that were there. Raises ValueError for an empty picture.
    """
    height, width = (int(side) for side in shape[-2:])
    if min(height, width) < 1:
        raise ValueError(f"snow_mask: the picture has no pixels: {height}x{width}")
    passed = np.zeros(height * width)  # the logarithm of the light that passes: flakes over each other add up
    for layer, seed in zip(LAYERS, rng.integers(2**63, size=len(LAYERS)), strict=True):
        _fall(passed, (height, width), layer, parameters, np.random.default_rng(seed))
    mask = (1 - np.exp(passed)).reshape(1, 1, height, width)
    return torch.from_numpy(mask.astype(np.float32))


def _fall(passed: np.ndarray, size: tuple[int, int], layer: Layer, own: Snow, rng: np.random.Generator) -> None:
    """Add the flakes of one layer to `passed` (h * w), a block of pixels around each."""
    height, width = size
    largest = UNEVEN * (1 + layer.soft / 2) * 0.75 * layer.size * own.size
    margin = math.ceil(largest + 0.65 * layer.motion * own.motion + 2)  # flakes centred outside reach in
    tall, broad = height + 2 * margin, width + 2 * margin
    draws = scattered(own.amount / 1000 * layer.share * tall * broad, 9, rng).T
    flakes = Flakes(
        y=draws[0] * tall - margin,
        x=draws[1] * broad - margin,
        radius=(0.5 + draws[2] ** 2) * layer.size * own.size / 2,  # most are small
        path=(0.7 + 0.6 * draws[3]) * layer.motion * own.motion,
        angle=np.radians(own.angle + own.spread * bell(draws[4], draws[5])),
        phase=2 * np.pi * draws[6 : 8 if 0.75 * layer.size * own.size > 1.5 else 6],  # unevenness shows only from a few pixels on
        opacity=layer.opacity * own.opacity * (0.3 + 0.7 * draws[8]),
    )
    extent = UNEVEN * (1 + layer.soft / 2) * flakes.radius + 0.5  # from the path to where nothing is left; half a pixel of edge at least
    reach = extent + flakes.path / 2 + 1
    order = np.argsort(reach)
    start = 0
    while start < len(order):  # flakes of about the same size together, each in a block as large as the largest of them needs
        stop = np.searchsorted(reach[order], 1.25 * reach[order[start]] + 1, side="right")
        block = math.ceil(reach[order[stop - 1]])
        some = order[start : min(stop, start + max(1, POINTS // (2 * block + 1) ** 2))]
        start += len(some)
        _lay(passed, size, Flakes(*(values[..., some] for values in flakes)), extent[some], block, layer.soft)


def _lay(passed: np.ndarray, size: tuple[int, int], flakes: Flakes, extent: np.ndarray, block: int, soft: float) -> None:
    """Add flakes to `passed`, each within the `block` pixels on either side of its centre."""
    height, width = size
    rows = np.floor(flakes.y).astype(np.int32)[:, None, None] + np.arange(-block, block + 1, dtype=np.int32)[:, None]
    columns = np.floor(flakes.x).astype(np.int32)[:, None, None] + np.arange(-block, block + 1, dtype=np.int32)
    y, x, path, down, right = (
        values.astype(np.float32)[:, None, None] for values in (flakes.y, flakes.x, flakes.path, np.cos(flakes.angle), np.sin(flakes.angle))
    )
    dy, dx = rows - y, columns - x  # (n, side, 1), (n, 1, side)
    nearest = np.clip(dy * down + dx * right, -path / 2, path / 2)  # the point of the path that is nearest to the pixel
    off = (dx - nearest * right) + 1j * (dy - nearest * down)  # from there to the pixel, (n, side, side)
    distance = np.abs(off)
    inside = (distance < extent.astype(np.float32)[:, None, None]) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    which = np.nonzero(inside)[0]
    alpha = _opacity(off[inside], distance[inside], flakes, which, soft)
    index = (rows * width + columns)[inside]
    passed += np.bincount(index, np.log1p(-np.minimum(alpha, MOST)), len(passed))


def _opacity(off: np.ndarray, distance: np.ndarray, flakes: Flakes, which: np.ndarray, soft: float) -> np.ndarray:
    """Opacity (m,) at offsets `off` (x + iy) from the paths of the flakes `which`: uneven discs, brightest inside, soft at the edge."""
    radius = flakes.radius.astype(np.float32)[which]
    if len(flakes.phase):
        unit = off / np.maximum(distance, 1e-3)
        twofold, threefold = np.exp(1j * flakes.phase).astype(np.complex64)[:, which]
        radius = radius * (1 + 0.14 * (unit**2 * twofold).real + 0.1 * (unit**3 * threefold).real)
    edge = np.maximum(soft * radius, 1)  # never sharper than a pixel
    alpha = np.clip((radius - distance) / edge + 0.5, 0, 1)
    # A flake that moves covers each pixel for a part of the time; it pales less than in proportion, being brighter than the scene.
    swept = (2 * flakes.radius / (2 * flakes.radius + flakes.path)) ** 0.4
    return (flakes.opacity * swept).astype(np.float32)[which] * alpha * alpha * (3 - 2 * alpha)
