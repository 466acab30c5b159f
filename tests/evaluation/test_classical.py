"""The classical methods: each improves its own degradation on the photographs, and agrees with another implementation of its parts."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import restoration

from course_lib.degradations.blur import blur, gaussian_kernel
from course_lib.evaluation.classical import (
    CLASSICAL,
    dark_channel,
    dehaze_dark_channel,
    estimate_noise,
    gamma_curve,
    non_local_means,
    rank_filter,
    richardson_lucy,
)
from course_lib.metrics import psnr


@pytest.fixture(scope="module")
def pictures(photos):
    """Crops of the test photographs, (1, 3, 150, 201) each."""
    return [image[None, :, -190:-40, 40:241].contiguous() for image in photos.values()]


def gains(pictures, degrade, method):
    """PSNR won by the method on each picture."""
    out = []
    for number, clean in enumerate(pictures):
        degraded = degrade(clean, torch.Generator().manual_seed(number))
        out.append(float(psnr(method(degraded), clean) - psnr(degraded.clamp(0, 1), clean)))
    return out


def noise(level):
    return lambda clean, generator: clean + torch.randn(clean.shape, generator=generator) * level / 255


@pytest.mark.parametrize("level, least", [(15, 1.0), (25, 2.0), (50, 4.0)])
def test_non_local_means_removes_noise(pictures, level, least):
    blind, told = (gains(pictures, noise(level), method) for method in (non_local_means, lambda x: non_local_means(x, level)))
    assert np.mean(blind) > least and min(blind) > 0
    assert np.mean(told) > np.mean(blind) - 0.5


def test_the_noise_level_is_estimated(pictures):
    for level in (15, 50):
        estimates = [estimate_noise(noise(level)(clean, torch.Generator().manual_seed(0))) for clean in pictures]
        assert np.mean(estimates) == pytest.approx(level, rel=0.15)
    assert estimate_noise(torch.full((1, 3, 8, 8), 0.3)) == 0
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert torch.equal(non_local_means(flat), flat)


def test_richardson_lucy_sharpens_and_is_scikit_images_inside(pictures):
    kernel = gaussian_kernel(1.6)
    found = gains(pictures, lambda clean, _: blur(clean, kernel), lambda image: richardson_lucy(image, kernel))
    assert min(found) > 0.5
    blurred = blur(pictures[0], kernel)
    ours = richardson_lucy(blurred, kernel, iterations=3)[0].permute(1, 2, 0).numpy()
    theirs = restoration.richardson_lucy(blurred[0].permute(1, 2, 0).double().numpy(), kernel.double().numpy()[..., None], num_iter=3)
    inside = (slice(50, -50),) * 2
    assert np.abs(ours[inside] - theirs[inside]).max() < 1e-4
    identity = torch.ones(1, 1)
    assert torch.allclose(richardson_lucy(pictures[0], identity), pictures[0], atol=1e-5)


def test_dark_channel_removes_haze(pictures):
    def haze(clean, _):
        depth = torch.linspace(1.4, 0.6, clean.shape[2]).view(1, 1, -1, 1)
        t = torch.exp(-depth)
        return clean * t + 0.85 * (1 - t)

    found = gains(pictures, haze, dehaze_dark_channel)
    assert np.mean(found) > 1 and min(found) > 0


def test_the_dark_channel_is_scipys_minimum_filter():
    image = torch.rand(1, 3, 33, 47, dtype=torch.float64)
    wanted = ndimage.minimum_filter(image[0].amin(0).numpy(), size=9, mode="nearest")
    assert np.array_equal(dark_channel(image, 4)[0, 0].numpy(), wanted)


def test_gamma_curve_brightens_the_dark_and_leaves_the_bright(pictures):
    found = gains(pictures, lambda clean, _: 0.4 * clean**2, gamma_curve)
    assert np.mean(found) > 5 and sum(gain > 1 for gain in found) >= len(found) - 1  # a scene that is dark by itself is made too bright
    batch = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.7)])
    assert torch.allclose(gamma_curve(batch, 0.5), torch.stack([torch.full((3, 8, 8), 0.5), batch[1]]), atol=1e-4)
    assert torch.equal(gamma_curve(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 3, 8, 8))


def test_rank_filter_removes_streaks_and_only_darkens(pictures):
    def rain(clean, generator):
        seeds = (torch.rand(clean.shape[2:], generator=generator) > 0.996).float()[None, None]
        return clean + 0.5 * torch.nn.functional.max_pool2d(seeds, (13, 1), 1, (6, 0))

    assert min(gains(pictures, rain, rank_filter)) > 1
    image = torch.rand(1, 3, 20, 30)
    result = rank_filter(image, 5)
    median = ndimage.median_filter(image[0].numpy(), size=(1, 1, 5), mode="nearest")
    assert np.array_equal(result[0].numpy(), np.minimum(median, image[0].numpy()))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_range_are_kept(name, dtype):
    image = torch.rand(2, 3, 37, 51, dtype=dtype) * 1.4 - 0.2
    before = image.clone()
    result = CLASSICAL[name](image)
    assert result.shape == image.shape and result.dtype == dtype and bool(result.isfinite().all())
    assert 0 <= float(result.min()) and float(result.max()) <= 1 and torch.equal(image, before)


def test_errors():
    image = torch.rand(1, 3, 16, 16)
    for call, word in (
        (lambda: non_local_means(image[0]), r"\(3, 16, 16\)"),
        (lambda: non_local_means(image, -1), "negative"),
        (lambda: richardson_lucy(image, torch.ones(2, 2)), r"\(2, 2\)"),
        (lambda: gamma_curve(image, 1.0), "between 0 and 1"),
        (lambda: rank_filter(image, 4), "odd"),
    ):
        with pytest.raises(ValueError, match=word):
            call()
