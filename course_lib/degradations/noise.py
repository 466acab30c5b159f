"""Additive white Gaussian noise: degraded = clean + n, n ~ N(0, (sigma/255)^2)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def standard_normal(shape: Sequence[int], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal draws of `shape`, float32, made on the CPU from `seed` and then moved, so that every device sees the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(device)


def gaussian_noise(clean: Tensor, sigma: float | Tensor, seeds: int | Sequence[int], *, clip: bool = False) -> Tensor:
    """Add white Gaussian noise of standard deviation `sigma` (on the 0-255 scale of the papers) to (B, 3, H, W).

    `sigma`: one number or (B,). `seeds`: one per image; a single int gives image i the seed `seeds + i`. The same seed gives
    the same noise in any batch and on any device. `clip=False` keeps the float noise, as denoisers are trained and tested
    (Restormer's protocol). Raises ValueError for a negative sigma or a wrong number of seeds.
    """
    batch = clean.shape[0]
    seeds = [seeds + i for i in range(batch)] if isinstance(seeds, int) else list(seeds)
    if len(seeds) != batch:
        raise ValueError(f"gaussian_noise: {batch} images but {len(seeds)} seeds")
    sigma = torch.as_tensor(sigma, dtype=torch.float32)
    if (sigma < 0).any():
        raise ValueError(f"gaussian_noise: sigma must not be negative, got {sigma.tolist()}")
    noise = torch.stack([standard_normal(clean.shape[1:], seed) for seed in seeds])
    noise = noise * (sigma.reshape(-1, 1, 1, 1) / 255)
    degraded = clean + noise.to(device=clean.device, dtype=clean.dtype)
    return degraded.clamp(0, 1) if clip else degraded
