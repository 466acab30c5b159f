r"""Rain: degraded = (1 - veil) (clean + mask) + veil grey.

`mask` (>= 0) is the light that falling drops add while the shutter is open. A drop is brighter than what is behind it and passes each
pixel quickly, so that it leaves a straight bright streak whose light is added to the scene's (Garg and Nayar, "Vision and Rain",
IJCV 2007). As the deraining data sets do (Yang et al., "Deep Joint Rain Detection and Removal", CVPR 2017; Li et al., "Rain Streak
Removal Using Layer Priors", CVPR 2016), streaks of several distances are summed: near ones few, long, broad and out of focus, far ones
many, short and fine. Drops too far to be told apart form the `veil`, a mist that mixes the scene with a grey (Yang et al. 2017;
Li et al., "Heavy Rain Image Restoration", CVPR 2019).

Positions are a Poisson process in the plane, so that a crop and a large picture show the same rain per area.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image

SHARING = math.sqrt(1 / 6)  # standard deviation, in pixels, over which sharing between two pixels spreads a line, on average
POINTS = 1 << 20  # samples laid down at once, to bound the memory on large pictures


class Layer(NamedTuple):
    """Streaks of one distance: their share of the number, and factors on `length`, `width` and `opacity`."""

    share: float
    length: float
    width: float
    opacity: float


LAYERS = (Layer(0.05, 2.2, 2.2, 0.6), Layer(0.30, 1.0, 1.0, 1.0), Layer(0.65, 0.5, 0.6, 0.7))  # near, middle, far


@dataclass(frozen=True)
class Rain(Parameters):
    """Rain streaks and veil; the defaults are a light rain, about as strong as Rain100L (see also HEAVY_RAIN and FINE_RAIN)."""

    kind: ClassVar[str] = "rain"
    equation: ClassVar[str] = r"y = (1-v)\,(x + \sum_k s_k) + v\,g"
    zero: ClassVar[dict[str, float]] = {"amount": 0.0, "veil": 0.0}
    strength: ClassVar[str] = "amount"

    amount: float = parameter(3.0, draw=(1, 12), limits=(0, 60), unit="per 1000 px", means="streaks per 1000 pixels of the picture")
    length: float = parameter(24.0, draw=(12, 45), limits=(2, 120), unit="px", means="mean length of the middle streaks")
    width: float = parameter(1.6, draw=(1.2, 2.2), limits=(0.3, 8), unit="px", means="width of the middle streaks at half their height")
    angle: float = parameter(10.0, draw=(-35, 35), limits=(-90, 90), unit="degrees", means="from the vertical; > 0 falls to the right")
    spread: float = parameter(2.0, draw=(0, 5), limits=(0, 30), unit="degrees", means="standard deviation of the streaks' angles")
    opacity: float = parameter(0.6, draw=(0.35, 0.8), limits=(0, 1), means="light that the brightest middle streaks add")
    veil: float = parameter(0.05, draw=(0, 0.25), limits=(0, 1), means="share of the mist of far rain")
    grey: float = parameter(0.7, draw=(0.6, 0.85), limits=(0, 1), means="grey value of the mist")

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        """Lay this rain over (B, 3, H, W) in [0, 1]; see `rain`."""
        return rain(clean, self, seeds, clip=clip)


HEAVY_RAIN = Rain(amount=12, length=32, opacity=0.7, veil=0.15)  # as strong as Rain100H and the heavy half of Rain13K
FINE_RAIN = Rain(amount=60, length=100, width=1.0, angle=3, opacity=0.09, veil=0)  # the dense fine masks of CDD-11


def rain(clean: Tensor, parameters: Rain | Sequence[Rain], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Rain over (B, 3, H, W) in [0, 1]: (1 - veil) (clean + mask) + veil grey, same shape, type and device.

    `parameters`: one, or one per image; `seeds`: one per image, or an int (image i gets `seeds + i`). `clip=False` leaves values above
    1. Raises ValueError for a wrong shape or number. Source: the model with veil of Yang et al. 2017, its mist a single grey.
    """
    return per_image(clean, parameters, seeds, clip, _rain_one)


def _rain_one(clean: Tensor, own: Rain, rng: np.random.Generator) -> Tensor:
    mask = rain_mask(clean.shape, own, rng).to(clean)
    return (1 - own.veil) * (clean + mask) + own.veil * own.grey


def rain_mask(shape: Sequence[int], parameters: Rain, rng: np.random.Generator) -> Tensor:
    """The streaks alone, (1, 1, h, w) float32 in [0, 1] on the CPU, to be added to an image; `shape` ends in (h, w). No veil.

    With the same state of `rng` a larger amount adds streaks to those that were there. Raises ValueError for an empty picture.
    """
    height, width = (int(side) for side in shape[-2:])
    if min(height, width) < 1:
        raise ValueError(f"rain_mask: the picture has no pixels: {height}x{width}")
    mask = np.zeros((height, width))
    for layer, seed in zip(LAYERS, rng.integers(2**63, size=len(LAYERS)), strict=True):
        mask += _streaks((height, width), layer, parameters, np.random.default_rng(seed))
    return torch.from_numpy(np.minimum(mask, 1).astype(np.float32))[None, None]


def scattered(mean: float, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform draws (n, columns) for n things, n Poisson with this mean; a larger mean only adds rows to those of the same `rng`.

    The things arrive one after another with exponential gaps, and those that arrive before `mean` are kept.
    """
    enough = int(mean + 7 * math.sqrt(mean) + 20)
    draws = rng.random((enough, columns + 1))  # filled row by row: the first rows do not depend on how many follow
    arrival = np.cumsum(-np.log1p(-draws[:, 0]))
    return draws[: np.searchsorted(arrival, mean), 1:]


def bell(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Standard normal values from two arrays of uniform draws in [0, 1), by the formula of Box and Muller."""
    return np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)


def _streaks(size: tuple[int, int], layer: Layer, own: Rain, rng: np.random.Generator) -> np.ndarray:
    """The added light (h, w) of one layer: each streak with its own place, length, angle and brightness."""
    height, width = size
    sigma = layer.width * own.width / (2 * math.sqrt(2 * math.log(2)))  # of a Gaussian profile, from its width at half height
    extra = math.sqrt(max(sigma**2 - SHARING**2, 0))  # what blurring must add to the spread that bilinear sharing gives anyway
    reach = math.ceil(3 * extra)
    longest = 1.5 * layer.length * own.length
    # Streaks whose centres lie outside reach in: mostly above and below, beside only as far as they lean.
    lean, swing = math.radians(abs(own.angle)), math.radians(3 * own.spread)
    tall = height + longest * math.cos(max(lean - swing, 0)) + 2 * (reach + 1)
    broad = width + longest * math.sin(min(lean + swing, math.pi / 2)) + 2 * (reach + 1)
    draws = scattered(own.amount / 1000 * layer.share * tall * broad, 6, rng)
    y, x = draws[:, 0] * tall - (tall - height) / 2, draws[:, 1] * broad - (broad - width) / 2
    length = (0.5 + draws[:, 2]) * layer.length * own.length
    angle = np.radians(own.angle + own.spread * bell(draws[:, 4], draws[:, 5]).clip(-3, 3))
    bright = layer.opacity * own.opacity * (0.25 + 0.75 * draws[:, 3] ** 2)  # few bright, many faint
    # Light per pixel of length such that, spread over the width, the ridge of the streak reaches `bright`.
    light = bright * math.sqrt(2 * math.pi) * sigma
    canvas = np.zeros((height + 2 * reach, width + 2 * reach))
    lines = np.stack([y + reach, x + reach, length * np.cos(angle), length * np.sin(angle), light])
    steep = np.abs(lines[2]) >= np.abs(lines[3])
    _lay_lines(canvas, *lines[:, steep], longest)
    _lay_lines(canvas.T, *lines[:, ~steep][[1, 0, 3, 2, 4]], longest)  # a flat line is a steep one in the transposed picture
    return _smooth(canvas, extra, reach)


def _lay_lines(canvas: np.ndarray, y, x, rise, run, light, longest: float) -> None:
    """Add tapered steep lines centred at (y, x), `rise` rows high, to `canvas`: in each row, shared between two neighbouring pixels."""
    height, width = canvas.shape
    rows = np.arange(math.ceil(longest) + 1)
    light = light * np.hypot(1, run / rise)  # the length of line that crosses one row
    total = np.zeros((height, width + 2))  # a pixel at either side takes the shares that fall outside
    chunk = max(1, POINTS // len(rows))
    for start in range(0, len(y), chunk):
        part = slice(start, start + chunk)
        own_y, own_x, own_rise, own_run, own_light = (values[part, None] for values in (y, x, rise, run, light))
        ys = np.ceil(own_y - np.abs(own_rise) / 2) + rows
        along = (ys - own_y) / own_rise  # -0.5 to 0.5
        xs = own_x + along * own_run
        taper = np.maximum(1 - 4 * along**2, 0) ** 0.7  # a drop enters and leaves softly
        inside = (taper > 0) & (ys >= 0) & (ys < height) & (xs > -1) & (xs < width)
        xs, here = xs[inside] + 1, (own_light * taper)[inside]
        left = xs.astype(np.int64)
        corner = ys[inside].astype(np.int64) * (width + 2) + left
        right_share = here * (xs - left)
        total += np.bincount(corner, here - right_share, total.size).reshape(total.shape)
        total += np.bincount(corner + 1, right_share, total.size).reshape(total.shape)
    canvas += total[:, 1:-1]


def _smooth(canvas: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Gaussian of `sigma` pixels along both axes, without the outer `reach` pixels: sums of shifted copies, the same on any machine."""
    if reach == 0:
        return canvas
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    for axis in (0, 1):
        moved = np.moveaxis(canvas, axis, 0)
        size = len(moved) - 2 * reach
        out = weights[0] * moved[reach : reach + size]
        for shift in range(1, reach + 1):
            out += weights[shift] * (moved[reach - shift :][:size] + moved[reach + shift :][:size])
        canvas = np.moveaxis(out, 0, axis)
    return canvas
