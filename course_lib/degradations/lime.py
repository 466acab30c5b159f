"""Illumination map in the manner of LIME, and the box mean and the guided filter that smooth it.

An image is reflectance times illumination, I = R * L (Retinex). LIME (Guo, Li, Ling: LIME: Low-light Image Enhancement via
Illumination Map Estimation, IEEE TIP 2017) takes the brightest channel as a first map, L0(x) = max_c I_c(x), and smooths it but for
its strong edges by a weighted least-squares problem over all pixels. Here a guided filter (He, Sun, Tang: Guided Image Filtering,
IEEE TPAMI 2013), run twice with the map as its own guide, does that smoothing: no system to solve, the same on every device,
milliseconds instead of seconds. Only the smoothing differs; the two maps agree to a few hundredths.
"""

import torch
from torch import Tensor

# Chosen so that the map comes close to the least-squares solution (weight 0.15) on photographs.
WINDOW = 31  # pixels a side
EPS = 0.03  # squared contrast below which the filter smooths
PASSES = 2


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean of (B, C, H, W) over `window` x `window` pixels, same shape, any device and any image size.

    OpenCV's conventions: an even window has its anchor right of and below the middle (offsets -(k//2) ... k-1-k//2), and the
    borders are mirrored without repeating the edge pixel (BORDER_REFLECT_101). Raises ValueError for a window below 1.
    """
    if int(window) != window or window < 1:
        raise ValueError(f"box_mean: the window must be a whole number of pixels from 1, got {window!r}")
    for axis in (-2, -1):
        x = _running_mean(x, int(window), axis)
    return x


def guided_filter(guide: Tensor, source: Tensor, window: int, eps: float) -> Tensor:
    """Smooth `source` (B, 1, H, W) with the edges of `guide` (B, 1, H, W); `window` pixels a side, `eps` on the scale of the squared guide.

    Guided image filtering (He et al. 2013, eqs. 5, 6, 8): in every window the result is a linear function of the guide. Borders as in
    `box_mean`. Raises ValueError for different shapes or eps not above 0.
    """
    if guide.shape != source.shape or guide.ndim != 4:
        raise ValueError(f"guided_filter: guide and source must both be (B, 1, H, W), got {tuple(guide.shape)} and {tuple(source.shape)}")
    if not eps > 0:
        raise ValueError(f"guided_filter: eps must be above 0, got {eps!r}")
    # Covariances as mean of products minus product of means cancel badly where the picture is flat: double precision keeps 1e-6.
    precise = torch.float32 if guide.device.type == "mps" else torch.float64  # Apple's GPUs have no double precision
    I, p = guide.to(precise), source.to(precise)
    mean_I, mean_p, mean_II, mean_Ip = box_mean(torch.cat([I, p, I * I, I * p], dim=1), window).chunk(4, dim=1)
    a = (mean_Ip - mean_I * mean_p) / (mean_II - mean_I * mean_I + eps)
    b = mean_p - a * mean_I
    mean_a, mean_b = box_mean(torch.cat([a, b], dim=1), window).chunk(2, dim=1)
    return (mean_a * I + mean_b).to(source.dtype)


def illumination_map(clean: Tensor) -> Tensor:
    """Illumination L of images (B, 3, H, W) in [0, 1]: (B, 1, H, W) in [0, 1], smooth but for the strong edges.

    LIME's first map, the brightest channel, smoothed by the guided filter as the module says. Raises ValueError for a wrong shape.
    """
    if clean.ndim != 4 or clean.shape[1] != 3:
        raise ValueError(f"illumination_map: expected (B, 3, H, W), got {tuple(clean.shape)}")
    light = clean.amax(dim=1, keepdim=True)  # (B, 1, H, W)
    for _ in range(PASSES):
        light = guided_filter(light, light, WINDOW, EPS)
    return light.clamp(0, 1)


def _running_mean(x: Tensor, window: int, axis: int) -> Tensor:
    """Mean over `window` neighbours along one axis."""
    index = _reflect_101(x.shape[axis], window // 2, window - 1 - window // 2).to(x.device)
    return x.index_select(axis, index).unfold(axis, window, 1).mean(-1)


def _reflect_101(size: int, before: int, after: int) -> Tensor:
    """Indices that mirror an axis about its end pixels: size 4, two each side -> 2 1 | 0 1 2 3 | 2 1; any size, however small."""
    period = max(2 * (size - 1), 1)
    index = torch.arange(-before, size + after) % period
    return torch.where(index >= size, period - index, index)
