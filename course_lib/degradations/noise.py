"""Noise of the sensor.

Gaussian:          degraded = clean + n,  n ~ N(0, (sigma/255)^2), the same at every pixel.
Poisson-Gaussian:  degraded = g P(clean/g) + n,  P a Poisson count, so that the variance is g clean + (read_sigma/255)^2.

g ("gain") is what one photoelectron adds to a pixel, so a white pixel has counted 1/g of them. Source of the second:
Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 17(10), 2008, equations 1 to 3 (their a is our gain, their b our read_sigma^2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, check_batch, image_seeds, parameter, per_image

# Below this gain the shot noise of a white pixel is under a thousandth of an 8-bit step, and counts would leave 64 bit.
_SMALLEST_GAIN = 1e-11


def standard_normal(shape: Sequence[int], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal draws of `shape`, float32, made on the CPU from `seed` and then moved, so that every device sees the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(device)


def gaussian_noise(clean: Tensor, sigma: float | Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Add white Gaussian noise of standard deviation `sigma` (on the 0-255 scale of the papers) to (B, 3, H, W).

    `sigma`: one number or (B,). `seeds`: one per image; a single int gives image i the seed `seeds + i`. The same seed gives
    the same noise in any batch and on any device. `clip=False` keeps the float noise, as denoisers are trained and tested
    (Restormer's protocol). Raises ValueError for a negative sigma or a wrong number of seeds.
    """
    seeds = image_seeds(seeds, clean.shape[0])
    sigma = torch.as_tensor(sigma, dtype=torch.float32)
    if (sigma < 0).any():
        raise ValueError(f"gaussian_noise: sigma must not be negative, got {sigma.tolist()}")
    if not seeds:
        return clean.clone()
    noise = torch.stack([standard_normal(clean.shape[1:], seed) for seed in seeds])
    noise = noise * (sigma.reshape(-1, 1, 1, 1).cpu() / 255)
    degraded = clean + noise.to(device=clean.device, dtype=clean.dtype)
    return degraded.clamp(0, 1) if clip else degraded


@dataclass(frozen=True)
class GaussianNoise(Parameters):
    """White Gaussian noise, the same at every pixel and in every channel."""

    sigma: float = parameter(25.0, draw=(5, 50), limits=(0, 255), unit="of 255", means="standard deviation of the noise")

    kind = "gaussian_noise"
    equation = r"I = J + n,\quad n \sim \mathcal{N}(0, (\sigma/255)^2)"
    zero = {"sigma": 0.0}
    strength = "sigma"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        check_batch(clean, self.kind)
        return gaussian_noise(clean, self.sigma, seeds, clip=clip)


@dataclass(frozen=True)
class PoissonGaussian(Parameters):
    """Shot noise, whose variance grows with the light, and the read noise of the electronics."""

    gain: float = parameter(0.01, draw=(0.002, 0.04), limits=(0, 1), means="what one photoelectron adds; white counts 1/gain of them")
    read_sigma: float = parameter(3.0, draw=(0, 10), limits=(0, 255), unit="of 255", means="standard deviation of the read noise")

    kind = "poisson_gaussian"
    equation = r"I = g\,\mathcal{P}(J/g) + n,\quad n \sim \mathcal{N}(0, (\sigma_r/255)^2),\quad \mathrm{Var}[I] = g J + (\sigma_r/255)^2"
    zero = {"gain": 0.0, "read_sigma": 0.0}
    strength = "gain"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return poisson_gaussian(clean, self, seeds, clip=clip)


def poisson_gaussian(
    clean: Tensor, parameters: PoissonGaussian | Sequence[PoissonGaussian], seeds: Seeds = 0, *, clip: bool = True
) -> Tensor:
    """Shot and read noise on (B, 3, H, W) in [0, 1]; same shape, dtype and device. No light, or less than none, has no shot noise.

    The counts are true Poisson draws, so what the signal is to the last bit matters: on the CPU and on a GPU the same picture
    gives the same noise, a picture that differs by rounding may not. Raises ValueError for a wrong shape, seeds or parameters.
    """
    return per_image(clean, parameters, seeds, clip, _count_photons)


def _count_photons(image: Tensor, own: PoissonGaussian, rng: np.random.Generator) -> Tensor:
    signal = image.detach().cpu().double().numpy()
    noise = np.zeros_like(signal)
    if own.gain > _SMALLEST_GAIN:
        light = signal.clip(min=0)
        noise += own.gain * rng.poisson(light / own.gain) - light
    if own.read_sigma:
        noise += rng.standard_normal(signal.shape) * (own.read_sigma / 255)
    return image + torch.from_numpy(noise).to(image)
