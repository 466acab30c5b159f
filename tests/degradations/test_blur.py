"""Blur: against SciPy and scikit-image, and what a motion kernel and a disc must be."""

import numpy as np
import pytest
import torch
from rules import check_kind, check_monotone, corner
from scipy.ndimage import convolve, gaussian_filter
from skimage.filters import gaussian
from skimage.morphology import disk

from course_lib.degradations.blur import (
    Defocus,
    GaussianBlur,
    MotionBlur,
    blur,
    defocus,
    disc_kernel,
    gaussian_blur,
    gaussian_kernel,
    motion_blur,
    motion_kernel,
)
from course_lib.metrics import psnr


@pytest.mark.parametrize("cls", [GaussianBlur, MotionBlur, Defocus])
def test_rules_of_every_kind(cls, photos):
    check_kind(cls, photos)


def test_worse_with_strength(photos):
    check_monotone(GaussianBlur, photos, (0, 0.3, 0.6, 1, 2, 4, 8, 16))
    check_monotone(MotionBlur, photos, (0, 1, 3, 7, 11, 21, 40, 64))
    check_monotone(Defocus, photos, (0, 0.7, 1, 2, 3, 6, 12, 30))


@pytest.mark.parametrize("own", [GaussianBlur(sigma=1.7), MotionBlur(length=9.5, angle=77)])
def test_the_classes_are_the_functions(own, photos):
    image = corner(photos)
    function = gaussian_blur(image, 1.7) if isinstance(own, GaussianBlur) else motion_blur(image, 9.5, 77)
    assert torch.equal(own.apply(image), function)


@pytest.mark.parametrize("sigma", [0.8, 2, 6])
def test_gaussian_blur_equals_scikit_image(sigma, photos):
    image = photos["coffee"][:, :120, :140]
    reference = gaussian(image.double().numpy(), sigma=sigma, mode="reflect", truncate=4, channel_axis=0)
    assert np.abs(GaussianBlur(sigma).apply(image[None])[0].numpy() - reference).max() < 2e-6


@pytest.mark.parametrize("radius", [0.5, 0.8, 1, 2.3, 3, 6.6])
def test_disc_kernel_is_the_covered_share_of_each_pixel(radius):
    kernel = disc_kernel(radius).double().numpy()
    reach, fine = kernel.shape[0] // 2, 101
    grid = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - (reach + 0.5)
    inside = (grid[:, None] ** 2 + grid[None] ** 2 <= radius**2).astype(float)
    share = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).mean((1, 3))
    assert np.abs(kernel - share / share.sum()).max() < 2e-3 * kernel.max()
    assert kernel.sum() == pytest.approx(1, abs=1e-6) and np.array_equal(kernel, kernel.T) and np.allclose(kernel, kernel[::-1], atol=1e-7)
    if radius > 0.8:  # then the middle pixel lies wholly inside
        assert kernel.max() == pytest.approx(1 / (np.pi * radius**2), rel=3e-3)


@pytest.mark.parametrize("radius", [1.5, 4, 9])
def test_defocus_is_a_convolution_with_the_disc(radius, photos):
    image = photos["chelsea"][:, :90, :111]
    kernel = disc_kernel(radius).double().numpy()
    reference = np.stack([convolve(channel, kernel, mode="reflect") for channel in image.double().numpy()])
    assert np.abs(Defocus(radius).apply(image[None])[0].numpy() - reference).max() < 2e-6


def test_disc_lies_close_to_scikit_images_disk():
    for radius in (5, 12):
        plain = disk(radius) / disk(radius).sum()
        ours = disc_kernel(radius).numpy()
        assert np.abs(ours - plain).sum() < 0.15, "the two differ on the rim only, where ours is antialiased"
        whole = slice(radius - radius // 2, radius + radius // 2 + 1)
        assert np.ptp(ours[whole, whole]) < 1e-3 * ours.max()


def test_big_kernels_by_the_fourier_transform_equal_scipy(photos):
    image = photos["coffee"][None, :, :70, :91]
    kernel = torch.rand(33, 33, generator=torch.Generator().manual_seed(2))
    kernel /= kernel.sum()
    reference = np.stack([convolve(channel, kernel.double().numpy(), mode="reflect") for channel in image[0].double().numpy()])
    assert np.abs(blur(image, kernel)[0].numpy() - reference).max() < 2e-6


def test_what_lies_outside_passes_only_without_clipping():
    image = torch.full((1, 3, 20, 20), 1.5)
    for function, *values in [(gaussian_blur, 2), (motion_blur, 5, 0), (defocus, Defocus(2))]:
        assert torch.equal(function(image, *values), torch.ones_like(image))
        assert torch.allclose(function(image, *values, clip=False), image, atol=1e-5)


def test_one_parameter_object_per_image(photos):
    image = corner(photos)
    both = defocus(image.repeat(2, 1, 1, 1), [Defocus(0), Defocus(4)])
    assert torch.equal(both[:1], image) and torch.equal(both[1:], Defocus(4).apply(image))


@pytest.mark.parametrize("sigma", [0.5, 1.2, 2.7])
def test_gaussian_blur_equals_scipy(sigma, photos):
    image = photos["chelsea"][None, :, :61, :83]
    ours = gaussian_blur(image, sigma)
    reference = gaussian_filter(image.double().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=4)
    assert np.abs(ours.numpy() - reference).max() < 2e-6


def test_blur_is_a_convolution_not_a_correlation():
    kernel = torch.rand(5, 5)
    image = torch.rand(1, 2, 12, 13)
    reference = np.stack([convolve(channel, kernel.numpy(), mode="reflect") for channel in image[0].numpy()])
    assert np.abs(blur(image, kernel)[0].numpy() - reference).max() < 1e-5


@pytest.mark.parametrize("length", [0.3, 1, 2, 5, 8.5, 15])
@pytest.mark.parametrize("angle", [0, 30, 45, 77.7, 90, 135, -20, 200])
def test_motion_kernel_is_a_weighting_symmetric_under_half_a_turn(length, angle):
    kernel = motion_kernel(length, angle)
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5) and (kernel >= 0).all()
    assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-6)
    assert torch.allclose(kernel, motion_kernel(length, angle + 180), atol=1e-6)


def test_motion_along_the_axes_is_one_exact_line():
    for length in (2, 5, 9):
        across, up = motion_kernel(length, 0), motion_kernel(length, 90)
        middle = across.shape[0] // 2
        assert float(across[middle].sum()) == pytest.approx(1, abs=1e-6)
        assert torch.allclose(up, across.T, atol=1e-6)
        inside = across[middle, 1:-1]
        assert float(inside.max() - inside.min()) < 0.15 * float(inside.mean()), "the movement is uniform"


def test_motion_at_a_positive_angle_goes_up_to_the_right():
    kernel = motion_kernel(9, 45)
    assert torch.allclose(kernel, kernel.T.flip(0, 1), atol=1e-6)
    anti = torch.diagonal(kernel.flip(1)).sum()
    assert anti > 3 * torch.diagonal(kernel).sum()


def test_nothing_at_zero_strength():
    image = torch.rand(2, 3, 9, 9)
    assert torch.equal(gaussian_blur(image, 0), image) and torch.equal(motion_blur(image, 0, 33), image)


def test_more_blur_is_less_psnr_and_the_mean_stays(photos):
    image = photos["coffee"][None, :, :160, :200]
    for make in (lambda s: gaussian_blur(image, s), lambda s: motion_blur(image, 4 * s, 20)):
        scores = [float(psnr(make(s), image)) for s in (0.5, 1, 2, 4)]
        assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 3
    flat = torch.full((1, 3, 20, 20), 0.3)
    assert torch.allclose(gaussian_blur(flat, 2), flat, atol=1e-6) and torch.allclose(motion_blur(flat, 7, 13), flat, atol=1e-6)


def test_errors():
    for call in (lambda: gaussian_kernel(-1), lambda: motion_kernel(-1, 0), lambda: disc_kernel(-1)):
        with pytest.raises(ValueError, match="negative"):
            call()
    with pytest.raises(ValueError, match="k odd"):
        blur(torch.rand(1, 3, 8, 8), torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least 8 pixels"):
        gaussian_blur(torch.rand(1, 3, 7, 50), 2)
    assert gaussian_blur(torch.rand(1, 3, 8, 50), 2).shape == (1, 3, 8, 50)
