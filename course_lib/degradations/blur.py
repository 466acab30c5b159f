"""Blur: degraded = clean * k, a convolution with a kernel that sums to one; the borders are reflected."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> Tensor:
    """Gaussian kernel (k, k), k odd, out to `truncate` standard deviations; `sigma` in pixels, 0 gives the identity. Raises ValueError."""
    if sigma < 0:
        raise ValueError(f"gaussian_kernel: sigma must not be negative, got {sigma}")
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return torch.ones(1, 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    line = line / line.sum()
    return torch.outer(line, line).to(torch.float32)


def motion_kernel(length: float, angle: float) -> Tensor:
    """Kernel (k, k), k odd, of a straight movement of `length` pixels at `angle` degrees (0 to the right, 90 upwards).

    The path is sampled finely and each sample shared bilinearly between its four pixels, so that the kernel turns smoothly
    with the angle. `length` 0 gives the identity. Raises ValueError for a negative length.
    """
    if length < 0:
        raise ValueError(f"motion_kernel: length must not be negative, got {length}")
    if length == 0:
        return torch.ones(1, 1)
    radius = math.ceil(length / 2)
    samples = max(2, int(length * 16))
    along = torch.linspace(-length / 2, length / 2, samples, dtype=torch.float64)
    x = radius + along * math.cos(math.radians(angle))
    y = radius - along * math.sin(math.radians(angle))
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    kernel = torch.zeros(2 * radius + 2, 2 * radius + 2, dtype=torch.float64)
    for dy, share_y in ((0, 1 - bottom_share), (1, bottom_share)):
        for dx, share_x in ((0, 1 - right_share), (1, right_share)):
            kernel.index_put_(((top + dy).long(), (left + dx).long()), share_x * share_y, accumulate=True)
    kernel = kernel[:-1, :-1]  # the extra row and column only ever receive zero shares
    return (kernel / kernel.sum()).to(torch.float32)


def blur(clean: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of (B, C, H, W) with `kernel` (k, k), k odd; same shape, borders mirrored at the edge pixel.

    The edge pixel is repeated in the mirror (scipy's "reflect"). Raises ValueError when the image is smaller than half the kernel.
    """
    side = kernel.shape[-1]
    if kernel.ndim != 2 or kernel.shape[0] != side or side % 2 == 0:
        raise ValueError(f"blur: the kernel must be (k, k) with k odd, not {tuple(kernel.shape)}")
    radius = side // 2
    height, width = clean.shape[-2:]
    if radius > min(height, width):
        raise ValueError(f"blur: a {side}x{side} kernel needs images of at least {radius} pixels a side, not {height}x{width}")
    rows = _mirror_index(height, radius).to(clean.device)
    columns = _mirror_index(width, radius).to(clean.device)
    padded = clean.index_select(-2, rows).index_select(-1, columns)
    channels = clean.shape[1]
    # conv2d correlates; flipping makes it the convolution of the equation.
    weight = kernel.flip(0, 1).to(clean).expand(channels, 1, side, side)
    return F.conv2d(padded, weight, groups=channels)


def gaussian_blur(clean: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian of `sigma` pixels; sigma 0 returns the image unchanged."""
    return blur(clean, gaussian_kernel(sigma))


def motion_blur(clean: Tensor, length: float, angle: float) -> Tensor:
    """Blur (B, C, H, W) along a straight movement of `length` pixels at `angle` degrees; length 0 returns the image unchanged."""
    return blur(clean, motion_kernel(length, angle))


def _mirror_index(size: int, radius: int) -> Tensor:
    """Indices that mirror an axis with the edge repeated: size 4, radius 2 -> 1 0 | 0 1 2 3 | 3 2."""
    index = torch.arange(-radius, size + radius)
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index)
