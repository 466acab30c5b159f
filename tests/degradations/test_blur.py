"""Blur: against SciPy, and what a motion kernel must be."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from course_lib.degradations.blur import blur, gaussian_blur, gaussian_kernel, motion_blur, motion_kernel
from course_lib.metrics import psnr


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
    for call in (lambda: gaussian_kernel(-1), lambda: motion_kernel(-1, 0)):
        with pytest.raises(ValueError, match="negative"):
            call()
    with pytest.raises(ValueError, match="k odd"):
        blur(torch.rand(1, 3, 8, 8), torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least 8 pixels"):
        gaussian_blur(torch.rand(1, 3, 7, 50), 2)
    assert gaussian_blur(torch.rand(1, 3, 8, 50), 2).shape == (1, 3, 8, 50)
