"""PSNR and SSIM, batched, in float64, as the all-in-one restoration papers measure them (data range 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"metrics compare two (B, C, H, W) batches of one shape, not {tuple(x.shape)} and {tuple(y.shape)}")
    return x.detach().to(torch.float64), y.detach().to(torch.float64)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all channels, float64 (B,); equal images give infinity.

    PSNR = -10 log10 mean((x - y)^2) for a data range of 1. Raises ValueError when the shapes differ.
    """
    x, y = _pair(x, y)
    return -10 * (x - y).square().flatten(1).mean(1).log10()


def _uniform_window(device) -> Tensor:
    return torch.full((7,), 1 / 7, dtype=torch.float64, device=device)


def _gaussian_window(device) -> Tensor:
    offsets = torch.arange(-5, 6, dtype=torch.float64, device=device)
    weights = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    return weights / weights.sum()


def _local_mean(x: Tensor, window: Tensor) -> Tensor:
    """Weighted mean over each full window position, separably: (B, C, H, W) -> (B, C, H-k+1, W-k+1)."""
    channels = x.shape[1]
    column = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(x, column, groups=channels), row, groups=channels)


def ssim(x: Tensor, y: Tensor, *, gaussian: bool = False) -> Tensor:
    """Structural similarity, mean over channels and positions, float64 (B,); 1 for equal images.

    Default: 7x7 uniform window and sample covariance (scikit-image's default, what the all-in-one papers report);
    `gaussian=True`: 11x11 window of sigma 1.5 and population covariance (Wang et al. 2004, eq. 13).
    Raises ValueError when a side is shorter than the window.
    """
    x, y = _pair(x, y)
    window = _gaussian_window(x.device) if gaussian else _uniform_window(x.device)
    side = len(window)
    if min(x.shape[-2:]) < side:
        raise ValueError(f"ssim needs images of at least {side}x{side} pixels, not {x.shape[-2]}x{x.shape[-1]}")
    c1, c2 = 0.01**2, 0.03**2
    unbiased = 1.0 if gaussian else side**2 / (side**2 - 1)

    mean_x, mean_y = _local_mean(x, window), _local_mean(y, window)
    var_x = unbiased * (_local_mean(x * x, window) - mean_x * mean_x)
    var_y = unbiased * (_local_mean(y * y, window) - mean_y * mean_y)
    cov = unbiased * (_local_mean(x * y, window) - mean_x * mean_y)

    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return similarity.flatten(1).mean(1)
