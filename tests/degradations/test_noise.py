"""Gaussian noise: seeds, batches, strength."""

import math

import pytest
import torch

from course_lib.degradations.noise import gaussian_noise, standard_normal
from course_lib.metrics import psnr


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 9, 11)
    whole = gaussian_noise(clean, 25, 7)
    assert torch.equal(whole, gaussian_noise(clean, 25, [7, 8, 9, 10]))
    for i in range(4):
        assert torch.equal(whole[i : i + 1], gaussian_noise(clean[i : i + 1], 25, [7 + i]))
    assert torch.equal(whole, torch.cat([gaussian_noise(clean[:3], 25, 7), gaussian_noise(clean[3:], 25, 10)]))
    assert not torch.equal(whole[0] - clean[0], whole[1] - clean[1])
    torch.manual_seed(123)  # the global generator plays no part
    assert torch.equal(whole, gaussian_noise(clean, 25, 7))


def test_mean_and_deviation():
    clean = torch.full((1, 3, 256, 256), 0.5)
    for sigma in (5, 25, 50):
        noise = gaussian_noise(clean, sigma, 0) - clean
        assert float(noise.std()) == pytest.approx(sigma / 255, rel=0.01)
        assert abs(float(noise.mean())) < 4 * sigma / 255 / noise.numel() ** 0.5
        assert float(psnr(clean + noise, clean)) == pytest.approx(-20 * math.log10(sigma / 255), abs=0.05)


def test_sigma_per_image_and_zero():
    clean = torch.full((3, 3, 64, 64), 0.5)
    degraded = gaussian_noise(clean, torch.tensor([0.0, 10.0, 40.0]), 1)
    assert torch.equal(degraded[0], clean[0])
    assert float((degraded[2] - clean[2]).std() / (degraded[1] - clean[1]).std()) == pytest.approx(4, rel=0.05)


def test_not_clipped_unless_asked():
    clean = torch.ones(1, 3, 16, 16)
    assert gaussian_noise(clean, 25, 0).max() > 1
    clipped = gaussian_noise(clean, 25, 0, clip=True)
    assert torch.equal(clipped, gaussian_noise(clean, 25, 0).clamp(0, 1)) and clipped.max() <= 1


def test_the_type_is_kept_and_the_input_untouched():
    clean = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    before = clean.clone()
    assert gaussian_noise(clean, 25, 0).dtype == torch.float64 and torch.equal(clean, before)
    assert standard_normal((2, 3), 5).equal(standard_normal((2, 3), 5))


def test_errors():
    with pytest.raises(ValueError, match="2 images but 3 seeds"):
        gaussian_noise(torch.rand(2, 3, 4, 4), 25, [1, 2, 3])
    with pytest.raises(ValueError, match="negative"):
        gaussian_noise(torch.rand(2, 3, 4, 4), -1, 0)
