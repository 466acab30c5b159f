"""Blur: degraded = clean * k, a convolution with a kernel k >= 0 that sums to one; the borders are reflected.

Gaussian: k(x) ~ exp(-|x|^2 / 2 sigma^2). Motion: k is even along a segment of `length` at `angle`. Defocus: k is even on a disc,
the geometric image of a point that a thin lens with a round aperture does not focus. Source: Gonzalez and Woods, "Digital Image
Processing", 4th edition, sections 3.5 and 5.6; the disc: Born and Wolf, "Principles of Optics", chapter 8.8 in the limit of rays.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.degradations.base import Parameters, Seeds, parameter, per_image

_LARGEST_DIRECT = 31  # pixels; from here on the Fourier transform is the faster way, measured at 128x128 on one core


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


def disc_kernel(radius: float) -> Tensor:
    """Kernel (k, k), k odd, of a disc of `radius` pixels: each weight is the share of its pixel that the disc covers.

    Up to half a pixel the disc lies within one pixel and changes nothing. Raises ValueError for a negative radius.
    """
    if radius < 0:
        raise ValueError(f"disc_kernel: radius must not be negative, got {radius}")
    reach = max(0, math.ceil(radius - 0.5))
    if reach == 0:
        return torch.ones(1, 1)
    lines = 64  # a pixel's height is cut into so many lines; along each the covered length is exact
    y = (np.arange((2 * reach + 1) * lines) + 0.5) / lines - (reach + 0.5)
    half = np.sqrt(np.clip(radius**2 - y**2, 0, None))[:, None]  # half the chord of the disc at height y
    left = np.arange(-reach, reach + 1) - 0.5
    covered = np.clip(np.minimum(half, left + 1) - np.maximum(-half, left), 0, 1)
    kernel = covered.reshape(2 * reach + 1, lines, 2 * reach + 1).mean(1)
    return torch.from_numpy((kernel + kernel.T) / (2 * kernel.sum())).float()


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
    if side > _LARGEST_DIRECT or clean.is_cuda:  # a GPU may convolve in TF32, to three digits; its Fourier transform keeps seven
        return _blur_by_fft(padded, kernel)
    channels = clean.shape[1]
    # conv2d correlates; flipping makes it the convolution of the equation.
    weight = kernel.flip(0, 1).to(clean).expand(channels, 1, side, side)
    return F.conv2d(padded, weight, groups=channels)


def _blur_by_fft(padded: Tensor, kernel: Tensor) -> Tensor:
    """The part of padded * kernel where the kernel lies wholly inside, by the convolution theorem; equal but for rounding."""
    exact = padded if padded.dtype == torch.float64 else padded.float()  # there is no half-precision transform on the CPU
    size, edge = exact.shape[-2:], kernel.shape[-1] - 1
    product = torch.fft.rfft2(exact) * torch.fft.rfft2(kernel.to(exact), s=size)
    return torch.fft.irfft2(product, s=size)[..., edge:, edge:].to(padded.dtype).contiguous()


def gaussian_blur(clean: Tensor, sigma: float, *, clip: bool = True) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian of `sigma` pixels; sigma 0 returns the image. Raises ValueError for a negative sigma.

    A weighted mean stays in [0, 1] but for rounding; `clip=False` lets that, and an input outside, through.
    """
    return _clipped(blur(clean, gaussian_kernel(sigma)), clip)


def motion_blur(clean: Tensor, length: float, angle: float, *, clip: bool = True) -> Tensor:
    """Blur (B, C, H, W) along a straight movement of `length` pixels at `angle` degrees; length 0 returns the image.

    `clip` as in `gaussian_blur`. Raises ValueError for a negative length.
    """
    return _clipped(blur(clean, motion_kernel(length, angle)), clip)


@dataclass(frozen=True)
class GaussianBlur(Parameters):
    """Gaussian blur: many small unrelated causes together, or a stand-in for an unknown lens."""

    sigma: float = parameter(2.0, draw=(0.5, 4), limits=(0, 20), unit="px", means="standard deviation of the kernel, cut at 4 sigma")

    kind = "gaussian_blur"
    equation = r"I = k_\sigma * J,\quad k_\sigma(x) \propto e^{-|x|^2 / 2\sigma^2}"
    zero = {"sigma": 0.0}
    strength = "sigma"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return per_image(clean, self, seeds, clip, lambda image, own, _rng: gaussian_blur(image, own.sigma, clip=False))


@dataclass(frozen=True)
class MotionBlur(Parameters):
    """A straight, even movement of the camera during the exposure."""

    length: float = parameter(11.0, draw=(5, 21), limits=(0, 64), unit="px", means="how far the picture moves")
    angle: float = parameter(30.0, draw=(0, 180), limits=(-360, 360), unit="degrees", means="0 to the right, 90 upwards")

    kind = "motion_blur"
    equation = r"I = \frac{1}{\ell} \int_{-\ell/2}^{\ell/2} J(x - s\,(\cos\theta, \sin\theta))\, ds"
    zero = {"length": 0.0}
    strength = "length"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return per_image(clean, self, seeds, clip, lambda image, own, _rng: motion_blur(image, own.length, own.angle, clip=False))


@dataclass(frozen=True)
class Defocus(Parameters):
    """A lens out of focus: each point becomes a disc."""

    radius: float = parameter(3.0, draw=(1, 6), limits=(0, 30), unit="px", means="radius of the disc; up to 0.5 nothing is seen")

    kind = "defocus"
    equation = r"I = k_r * J,\quad k_r(x) = \frac{1}{\pi r^2}\,[\,|x| \leq r\,]"
    zero = {"radius": 0.0}
    strength = "radius"

    def apply(self, clean: Tensor, seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
        return defocus(clean, self, seeds, clip=clip)


def defocus(clean: Tensor, parameters: Defocus | Sequence[Defocus], seeds: Seeds = 0, *, clip: bool = True) -> Tensor:
    """Blur (B, 3, H, W) with a disc; same shape, dtype and device. Nothing is drawn: `seeds` are taken as every kind takes them.

    `clip` as in `gaussian_blur`. Raises ValueError for a wrong shape, seeds or parameters, or an image smaller than the radius.
    """
    return per_image(clean, parameters, seeds, clip, lambda image, own, _rng: blur(image, _disc(own.radius)))


_disc = functools.lru_cache(maxsize=64)(disc_kernel)  # 4 ms at a radius of 6, more than the convolution itself


def _clipped(image: Tensor, clip: bool) -> Tensor:
    return image.clamp(0, 1) if clip else image


def _mirror_index(size: int, radius: int) -> Tensor:
    """Indices that mirror an axis with the edge repeated: size 4, radius 2 -> 1 0 | 0 1 2 3 | 3 2."""
    index = torch.arange(-radius, size + radius)
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index)
