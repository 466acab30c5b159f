"""Haze: I = J t + A (1 - t), with the transmission t = exp(-beta d): the atmospheric scattering model.

The clean radiance J fades with the distance d to the camera and the air light A takes its place (Koschmieder 1924; Narasimhan and
Nayar: Vision and the Atmosphere, IJCV 2002). THE CONVENTION of `depth` is distance in [0, 1], 0 NEAR and 1 FAR. Disparity and the
maps of CDD-11 are bright where NEAR: turn them first (see `depth.py`). Without a map the depth is invented from the seed
(`procedural_depth`), and drawn towards the picture's own edges so that the fog does not show silhouettes that are not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, check_batch, image_seeds, one_each, parameter, per_image
from course_lib.degradations.depth import procedural_depth
from course_lib.degradations.lime import guided_filter


@dataclass(frozen=True)
class Haze(Parameters):
    """How dense the haze is and what light it scatters; `beta` 0 leaves the image as it is."""

    kind: ClassVar[str] = "haze"
    equation: ClassVar[str] = r"I = J \, t + A \, (1 - t), \quad t = e^{-\beta d}"
    zero: ClassVar[dict[str, float]] = {"beta": 0.0}
    strength: ClassVar[str] = "beta"

    beta: float = parameter(1.2, draw=(0.6, 2.0), limits=(0.0, 10.0), means="scattering over the farthest distance: 0 is clear air")
    air_light: float = parameter(0.85, draw=(0.7, 0.95), limits=(0.0, 1.0), means="brightness of the air light A, on the scale [0, 1]")
    tint: float = parameter(0.0, draw=(-0.03, 0.03), limits=(-0.2, 0.2), means="added to A's blue, taken from its red: above 0 bluish")

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, depth: Tensor | None = None, clip: bool = True) -> Tensor:
        """Put haze into (B, 3, H, W) in [0, 1]; see `haze`."""
        return haze(clean, self, seeds, depth=depth, clip=clip)


def haze(clean: Tensor, parameters: Haze | Sequence[Haze], seeds: Seeds = 0, *, depth: Tensor | None = None, clip: bool = True) -> Tensor:
    """Put haze into images (B, 3, H, W) in [0, 1]; same shape, dtype and device.

    `parameters`: one object or one per image; `depth`: (B or 1, 1, H, W) DISTANCE in [0, 1], 0 near, 1 far (turn disparity and
    CDD-11's maps first), or None for an invented one, drawn from `seeds` (one per image; a single int gives image i `seeds + i`).
    Raises ValueError for a wrong shape, a depth outside [0, 1], a wrong number of seeds or parameters.
    """
    batch = clean.shape[0]
    own, seed = one_each(parameters, batch), image_seeds(seeds, batch)
    check_batch(clean, Haze.kind)
    if depth is not None:
        _check_depth(depth, clean)
        depth = depth.to(clean.device).expand(batch, -1, -1, -1)

    def one(i: int) -> Tensor:
        given = None if depth is None else depth[i : i + 1]
        return per_image(clean[i : i + 1], own[i], [seed[i]], clip, lambda image, p, rng: _scatter(image, p, rng, given))

    return torch.cat([one(i) for i in range(batch)]) if batch else clean.clone()


def transmission(depth: Tensor, beta: float) -> Tensor:
    """Share of the light that arrives from distance `depth` (0 near, 1 far), same shape: t = exp(-beta d), in (0, 1]."""
    return torch.exp(-beta * depth)


def _scatter(image: Tensor, own: Haze, rng: np.random.Generator, depth: Tensor | None) -> Tensor:
    """One image (1, 3, H, W)."""
    if depth is None:
        depth = fitted_depth(image, rng)
    t = transmission(depth.to(torch.promote_types(image.dtype, torch.float32)), own.beta)
    colour = [own.air_light - own.tint, own.air_light, own.air_light + own.tint]
    A = torch.tensor(colour, dtype=t.dtype, device=t.device).clamp(0, 1).reshape(1, 3, 1, 1)
    return image * t + A * (1 - t)


def fitted_depth(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An invented distance (1, 1, H, W) whose edges lie on the picture's: the guided filter, as for the dark channel prior."""
    height, width = image.shape[-2:]
    depth = procedural_depth(height, width, rng).to(image.device)
    grey = image.float().mean(dim=1, keepdim=True)
    window = max(3, min(height, width) // 8)
    return guided_filter(grey, depth, window, 1e-3).clamp(0, 1)


def _check_depth(depth: Tensor, clean: Tensor) -> None:
    batch, _, height, width = clean.shape
    if depth.ndim != 4 or depth.shape[0] not in (1, batch) or depth.shape[1:] != (1, height, width) or not depth.is_floating_point():
        raise ValueError(
            f"haze: depth must be floating, ({batch} or 1, 1, {height}, {width}) for these images, got {tuple(depth.shape)} {depth.dtype}"
        )
    low, high = (float(v) for v in depth.aminmax()) if depth.numel() else (0.0, 0.0)
    if not (0 <= low and high <= 1):  # also when NaN
        raise ValueError(f"haze: depth is distance in [0, 1] (0 near, 1 far), but this map holds {low:g} to {high:g}")
