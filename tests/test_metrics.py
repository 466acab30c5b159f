"""PSNR and SSIM against scikit-image on the photographs."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from course_lib.metrics import psnr, ssim


def spoilt(clean, sigma=25 / 255):
    return (clean + sigma * torch.randn(clean.shape)).clamp(0, 1)


def arrays(*images):
    return [image.double().permute(1, 2, 0).numpy() for image in images]


def test_equal_to_scikit_image_on_every_test_photograph(photos):
    for name, clean in photos.items():
        other = spoilt(clean)
        x, y = arrays(other, clean)
        assert float(psnr(other[None], clean[None])) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-6), name
        reference = structural_similarity(x, y, channel_axis=2, data_range=1)
        assert float(ssim(other[None], clean[None])) == pytest.approx(reference, abs=1e-5), name


def test_gaussian_form_equals_scikit_image(photos):
    for clean in list(photos.values())[:3]:
        other = spoilt(clean, 0.2)
        x, y = arrays(other, clean)
        options = dict(channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        assert float(ssim(other[None], clean[None], gaussian=True)) == pytest.approx(structural_similarity(x, y, **options), abs=1e-5)


def test_flat_and_dark_images_keep_precision():
    clean = torch.full((1, 3, 16, 16), 0.9)
    other = clean + 1e-4 * torch.randn(1, 3, 16, 16)
    x, y = arrays(other[0], clean[0])
    assert float(ssim(other, clean)) == pytest.approx(structural_similarity(x, y, channel_axis=2, data_range=1), abs=1e-5)


def test_a_batch_is_its_images_one_by_one():
    x, y = torch.rand(4, 3, 20, 33), torch.rand(4, 3, 20, 33)
    for metric in (psnr, ssim, lambda a, b: ssim(a, b, gaussian=True)):
        together = metric(x, y)
        assert together.dtype == torch.float64 and together.shape == (4,)
        assert torch.allclose(together, torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(4)]), rtol=0, atol=1e-12)
        assert torch.allclose(together, metric(y, x), rtol=0, atol=1e-12)


def test_equal_images_and_a_known_difference():
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64) * 0.5
    assert torch.isinf(psnr(x, x)).all() and torch.allclose(ssim(x, x), torch.ones(2, dtype=torch.float64))
    assert psnr(x, x + 0.1).tolist() == pytest.approx([20, 20])
    assert psnr(x, x + 0.01)[0] == pytest.approx(-20 * math.log10(0.01))


def test_half_precision_and_gradients_are_no_trouble():
    x = torch.rand(1, 3, 16, 16)
    y = (x + 0.05).requires_grad_()
    assert not psnr(x, y).requires_grad
    assert float(psnr(x.bfloat16(), x.bfloat16() + 0.25)) == pytest.approx(12.04, abs=0.1)


def test_errors_say_the_shapes():
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 3, 8, 9\)"):
            metric(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
        with pytest.raises(ValueError, match="batches"):
            metric(torch.rand(3, 8, 8), torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="7x7"):
        ssim(torch.rand(1, 3, 6, 20), torch.rand(1, 3, 6, 20))
    with pytest.raises(ValueError, match="11x11"):
        ssim(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20), gaussian=True)
