"""Low light: degraded = e * R * L^gamma + n, n ~ N(0, noise^2), where clean = R * L is the Retinex split of the picture.

The reflectance R stays; the illumination L in [0, 1], estimated LIME-style (`lime.illumination_map`: Guo, Li, Ling, IEEE TIP 2017),
is raised to a power, so that shadows sink and lamps stay bright, as at night; an exposure e below 1 darkens everything alike, as a
short shutter does (the LOL pictures). The sensor's noise comes on top of the darkened picture, and so weighs more there. With e = 1
this is the low-light part of OneRestore's synthesis (Guo et al., ECCV 2024), but for the last smoothing of its map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image
from course_lib.degradations.lime import illumination_map


@dataclass(frozen=True)
class LowLight(Parameters):
    """How dark it grows and how much the sensor adds; `gamma` 1, `noise` 0, `exposure` 1 (its default) leaves the image as it is."""

    kind: ClassVar[str] = "low_light"
    equation: ClassVar[str] = r"I = e \, R \, L^{\gamma} + n, \quad J = R \, L, \quad n \sim \mathcal{N}(0, \sigma_n^2)"
    zero: ClassVar[dict[str, float]] = {"gamma": 1.0, "noise": 0.0, "exposure": 1.0}
    strength: ClassVar[str] = "gamma"

    gamma: float = parameter(2.5, draw=(2.0, 3.0), limits=(1.0, 10.0), means="power of the illumination map: 1 keeps the light")
    noise: float = parameter(0.03, draw=(0.01, 0.05), limits=(0.0, 0.5), means="standard deviation of the noise, on the scale [0, 1]")
    exposure: float = parameter(1.0, draw=(0.3, 1.0), limits=(0.01, 1.0), means="share of the light that a short exposure leaves: 1 is all")

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        """Darken (B, 3, H, W) in [0, 1] and add noise; see `low_light`."""
        return low_light(clean, self, seeds, clip=clip)


def low_light(clean: Tensor, parameters: LowLight | Sequence[LowLight], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Darken images (B, 3, H, W) in [0, 1] by their own illumination maps and add sensor noise; same shape, dtype and device.

    `parameters`: one object or one per image; `seeds`: one per image, a single int gives image i the seed `seeds + i`. `clip=False`
    keeps what the noise puts outside [0, 1]. Raises ValueError for a wrong shape or number of seeds or parameters.
    """
    return per_image(clean, parameters, seeds, clip, _darken)


def _darken(image: Tensor, own: LowLight, rng: np.random.Generator) -> Tensor:
    """One image (1, 3, H, W)."""
    noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)).to(image.device)
    light = illumination_map(image.to(torch.promote_types(image.dtype, torch.float32)))
    # R * L^gamma = (clean / L) * L^gamma, written so that nothing is divided where L is 0
    return image * (own.exposure * light ** (own.gamma - 1)) + own.noise * noise
