"""Methods without learning, the second row of every results table: what a model must beat to have learnt anything.

Each takes (B, 3, H, W) in [0, 1] (noise may reach outside) and returns the same shape, dtype and device, in [0, 1].

| name | undoes | method | source |
|---|---|---|---|
| `nlm` | noise | non-local means | Buades et al., CVPR 2005; scikit-image |
| `richardson-lucy` | known blur | Richardson-Lucy deconvolution | Richardson 1972, Lucy 1974; scikit-image |
| `dark-channel` | haze | dark channel prior, guided filter | He et al., TPAMI 2011 and 2013 |
| `gamma-curve` | low light | the power law that gives a wanted mean | Gonzalez and Woods, section 3.2 |
| `rank-filter` | rain | the pixel or the median of its row, whichever is darker | rank-order filtering across the streaks |
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.degradations.lime import guided_filter


def _each_image(image: Tensor, function: Callable) -> Tensor:
    """Apply `function` of a float64 NumPy array (H, W, 3) to each image of (B, 3, H, W); clipped, same dtype and device."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"a classical method wants (B, 3, H, W), not {tuple(image.shape)}")
    arrays = image.detach().cpu().double().permute(0, 2, 3, 1).numpy()
    results = torch.stack([torch.from_numpy(function(array)) for array in arrays])
    return results.permute(0, 3, 1, 2).clamp(0, 1).to(image).contiguous()


def estimate_noise(image: Tensor) -> float:
    """Standard deviation of white noise in (B, 3, H, W), on the 0-255 scale, as the median of the finest diagonal Haar detail.

    sigma = median |d| / 0.6745 (Donoho and Johnstone, Biometrika 1994). Fine texture counts as noise: clean photographs give a few levels.
    """
    image = image.detach().double()
    height, width = image.shape[-2] // 2 * 2, image.shape[-1] // 2 * 2
    corners = [image[..., y:height:2, x:width:2] for y in (0, 1) for x in (0, 1)]
    detail = (corners[0] - corners[1] - corners[2] + corners[3]) / 2
    return float(detail.abs().flatten().median() / 0.6745 * 255)


def non_local_means(image: Tensor, sigma: float | None = None) -> Tensor:
    """Average of pixels whose 5x5 surroundings look alike, within 13x13; noise `sigma` on the 0-255 scale, estimated when None.

    Strength h = 0.8 sigma, scikit-image's advice when it is told the noise. Raises ValueError for a negative sigma.
    """
    from skimage.restoration import denoise_nl_means

    if sigma is not None and sigma < 0:
        raise ValueError(f"non_local_means: sigma must not be negative, got {sigma}")
    level = (estimate_noise(image) if sigma is None else sigma) / 255
    if level == 0:
        return image.clamp(0, 1)
    options = {"patch_size": 5, "patch_distance": 6, "h": 0.8 * level, "sigma": level, "fast_mode": True, "channel_axis": 2}
    return _each_image(image, lambda array: denoise_nl_means(array, **options))


def richardson_lucy(image: Tensor, kernel: Tensor, iterations: int = 20) -> Tensor:
    """Deconvolve with the known `kernel` (k, k), k odd, that sums to one; borders are mirrored first. It also sharpens noise.

    x <- x * (K^T (y / K x)). Raises ValueError for a kernel of another shape.
    """
    import numpy as np
    from skimage.restoration import richardson_lucy as deconvolve

    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"richardson_lucy: the kernel must be (k, k) with k odd, not {tuple(kernel.shape)}")
    psf = kernel.detach().cpu().double().numpy()
    margin = kernel.shape[0] - 1  # scikit-image takes zero for what lies outside: two radii keep that away from the picture

    def restore(array):
        padded = np.pad(array.clip(0, 1), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
        result = np.stack([deconvolve(padded[..., c], psf, num_iter=iterations, filter_epsilon=1e-6) for c in range(3)], axis=2)
        return result[margin : margin + array.shape[0], margin : margin + array.shape[1]]

    return _each_image(image, restore)


def dark_channel(image: Tensor, radius: int) -> Tensor:
    """Minimum over the channels and over a square of 2 radius + 1 pixels a side: (B, 3, H, W) -> (B, 1, H, W)."""
    darkest = -image.amin(1, keepdim=True)
    rows = F.max_pool2d(darkest, (2 * radius + 1, 1), 1, (radius, 0))
    return -F.max_pool2d(rows, (1, 2 * radius + 1), 1, (0, radius))


def dehaze_dark_channel(image: Tensor, radius: int = 7, omega: float = 0.95, smallest: float = 0.1) -> Tensor:
    """Haze removed by the dark channel prior: t = 1 - omega dark(I/A), guided-filtered, J = (I - A)/max(t, smallest) + A.

    A is the mean colour of the 0.1 % of pixels with the brightest dark channel (He et al. 2011 take the brightest of them; the mean does
    not hang on one lamp); guided filter of 41 pixels a side and eps 0.001 (He et al. 2013). Skies and white walls break the prior.
    """
    I = image.detach().double().clamp(0, 1)
    count = max(1, I.shape[-2] * I.shape[-1] // 1000)
    brightest = dark_channel(I, radius).flatten(2).topk(count, dim=2).indices  # (B, 1, count)
    A = I.flatten(2).gather(2, brightest.expand(-1, 3, -1)).mean(2)[..., None, None].clamp_min(1e-3)
    t = 1 - omega * dark_channel(I / A, radius)
    t = guided_filter(I.mean(1, keepdim=True), t, 41, 1e-3).clamp(smallest, 1)
    return ((I - A) / t + A).clamp(0, 1).to(image)


def gamma_curve(image: Tensor, wanted: float = 0.45) -> Tensor:
    """Brighten each image to the mean `wanted` by one power law, x**g with g between 0.1 and 1; an image that bright already stays.

    Raises ValueError unless 0 < wanted < 1.
    """
    if not 0 < wanted < 1:
        raise ValueError(f"gamma_curve: the wanted mean must lie between 0 and 1, got {wanted}")
    image_in = image.detach().double().clamp(0, 1)
    low, high = torch.full((len(image), 1, 1, 1), 0.1).to(image_in), torch.ones(len(image), 1, 1, 1).to(image_in)
    for _ in range(20):  # the mean falls as the power grows, so halving finds it
        middle = (low + high) / 2
        bright = image_in.pow(middle).mean((1, 2, 3), keepdim=True) > wanted
        low, high = torch.where(bright, middle, low), torch.where(bright, high, middle)
    return image_in.pow(high).to(image)


def rank_filter(image: Tensor, width: int = 7) -> Tensor:
    """Rain streaks removed: each value becomes the median of the `width` values along its row where that is darker, else it stays.

    Streaks are bright and steep, so that most of a row's neighbours miss them; thin bright upright detail goes with them.
    Raises ValueError for an even width.
    """
    if width % 2 == 0 or width < 1:
        raise ValueError(f"rank_filter: the width must be odd, got {width}")
    I = image.detach().clamp(0, 1)
    radius = width // 2
    padded = F.pad(I, (radius, radius, 0, 0), mode="replicate")
    return torch.minimum(I, padded.unfold(3, width, 1).median(-1).values)


def _deblur(image: Tensor) -> Tensor:
    from course_lib.degradations.blur import gaussian_kernel

    return richardson_lucy(image, gaussian_kernel(1.5))


# The blind forms that `course eval classical:NAME` runs: the noise is estimated, the blur taken for a Gaussian of 1.5 pixels.
CLASSICAL: dict[str, Callable[[Tensor], Tensor]] = {
    "nlm": non_local_means,
    "richardson-lucy": _deblur,
    "dark-channel": dehaze_dark_channel,
    "gamma-curve": gamma_curve,
    "rank-filter": rank_filter,
}
