"""Noise: seeds, batches, strength; Gaussian noise against an independent draw, shot noise by its statistics."""

import math

import numpy as np
import pytest
import torch
from rules import check_draws_matter, check_kind, check_monotone
from skimage.util import random_noise

from course_lib.degradations.noise import GaussianNoise, PoissonGaussian, gaussian_noise, poisson_gaussian, standard_normal
from course_lib.metrics import psnr


@pytest.mark.parametrize("cls", [GaussianNoise, PoissonGaussian])
def test_rules_of_every_kind(cls, photos):
    check_kind(cls, photos)
    check_draws_matter(cls, photos)


def test_worse_with_strength(photos):
    check_monotone(GaussianNoise, photos, (0, 2, 5, 15, 25, 50, 100, 200))
    check_monotone(PoissonGaussian, photos, (0, 0.0005, 0.002, 0.01, 0.04, 0.1, 0.5, 1))
    reads = [float(psnr(PoissonGaussian(0.01, read).apply(photos["coffee"][None]), photos["coffee"][None])) for read in (0, 5, 20, 60)]
    assert reads == sorted(reads, reverse=True)


class Handed:
    """Stands for NumPy's generator inside scikit-image and hands it the draws that were made beforehand."""

    def __init__(self, draws):
        self.draws = draws

    def normal(self, mean, deviation, size):
        assert self.draws.shape == tuple(size)
        return mean + deviation * self.draws


@pytest.mark.parametrize("sigma", [15, 25, 50])
@pytest.mark.parametrize("clip", [True, False])
def test_the_same_as_scikit_image_given_the_same_draws(sigma, clip, photos, monkeypatch):
    clean = photos["chelsea"][None, :, :90, :70]
    draws = torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(11)).double().numpy()
    monkeypatch.setattr(np.random, "default_rng", lambda _seed=None: Handed(draws))
    reference = random_noise(clean[0].double().numpy(), "gaussian", rng=0, var=(sigma / 255) ** 2, clip=clip)
    monkeypatch.undo()
    assert np.abs(gaussian_noise(clean, sigma, 11, clip=clip)[0].numpy() - reference).max() < 1e-6


def test_poisson_gaussian_equals_numpy_draws_of_the_equation(photos):
    clean = photos["chelsea"][None, :, :40, :52]
    signal = clean[0].double().numpy()
    rng = np.random.default_rng(4)
    counts = np.array(rng.poisson(signal / 0.02))[None]
    reference = 0.02 * counts + 8 / 255 * rng.standard_normal(clean.shape)
    degraded = poisson_gaussian(clean, PoissonGaussian(0.02, 8), 4, clip=False)
    assert np.abs(degraded.numpy() - reference).max() < 1e-6


@pytest.mark.parametrize("level", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("gain", [0.002, 0.05, 0.4])
def test_shot_noise_is_poisson(level, gain):
    clean = torch.full((1, 3, 300, 300), level, dtype=torch.float64)
    counts = PoissonGaussian(gain, 0).apply(clean, 3, clip=False) / gain
    assert (counts - counts.round()).abs().max() < 1e-6 and counts.min() > -1e-6, "whole photons"
    number, expected = counts.numel(), level / gain
    # mean and variance of a Poisson count are equal; five standard errors of either
    assert abs(float(counts.mean()) - expected) < 5 * math.sqrt(expected / number)
    assert abs(float(counts.var()) - expected) < 5 * math.sqrt((2 * expected**2 + expected) / number)
    dark = float((counts.round() == 0).double().mean())
    assert abs(dark - math.exp(-expected)) < 5 * math.sqrt(math.exp(-expected) / number) + 1e-9


def test_read_noise_adds_its_variance():
    clean = torch.full((1, 3, 300, 300), 0.4)
    noise = PoissonGaussian(0.01, 20).apply(clean, 0, clip=False) - clean
    assert float(noise.var()) == pytest.approx(0.01 * 0.4 + (20 / 255) ** 2, rel=0.02)


def test_shot_noise_of_nothing_and_of_what_lies_outside():
    clean = torch.tensor([-0.5, 0.0]).reshape(1, 1, 1, 2).expand(1, 3, 4, 2)
    assert torch.equal(PoissonGaussian(0.05, 0).apply(clean, 0, clip=False), clean)
    tiny = PoissonGaussian(1e-300, 0).apply(torch.rand(1, 3, 4, 4), 0)
    assert torch.isfinite(tiny).all()


def test_one_parameter_object_per_image():
    clean = torch.full((2, 3, 64, 64), 0.5)
    degraded = poisson_gaussian(clean, [PoissonGaussian.identity(), PoissonGaussian(0.02, 0)], 0)
    assert torch.equal(degraded[0], clean[0]) and float((degraded[1] - 0.5).var()) == pytest.approx(0.01, rel=0.05)


def test_the_seed_alone_decides_whatever_the_batch():
    clean = torch.rand(4, 3, 9, 11)
    whole = gaussian_noise(clean, 25, 7, clip=False)
    assert torch.equal(whole, gaussian_noise(clean, 25, [7, 8, 9, 10], clip=False))
    for i in range(4):
        assert torch.equal(whole[i : i + 1], gaussian_noise(clean[i : i + 1], 25, [7 + i], clip=False))
    assert torch.equal(whole, torch.cat([gaussian_noise(clean[:3], 25, 7, clip=False), gaussian_noise(clean[3:], 25, 10, clip=False)]))
    assert not torch.equal(whole[0] - clean[0], whole[1] - clean[1])
    torch.manual_seed(123)  # the global generator plays no part
    assert torch.equal(whole, gaussian_noise(clean, 25, 7, clip=False))


def test_mean_and_deviation():
    clean = torch.full((1, 3, 256, 256), 0.5)
    for sigma in (5, 25, 50):
        noise = gaussian_noise(clean, sigma, 0, clip=False) - clean
        assert float(noise.std()) == pytest.approx(sigma / 255, rel=0.01)
        assert abs(float(noise.mean())) < 4 * sigma / 255 / noise.numel() ** 0.5
        assert float(psnr(clean + noise, clean)) == pytest.approx(-20 * math.log10(sigma / 255), abs=0.05)


def test_sigma_per_image_and_zero():
    clean = torch.full((3, 3, 64, 64), 0.5)
    degraded = gaussian_noise(clean, torch.tensor([0.0, 10.0, 40.0]), 1)
    assert torch.equal(degraded[0], clean[0])
    assert float((degraded[2] - clean[2]).std() / (degraded[1] - clean[1]).std()) == pytest.approx(4, rel=0.05)


def test_clipped_unless_asked_not_to():
    clean = torch.ones(1, 3, 16, 16)
    free = gaussian_noise(clean, 25, 0, clip=False)
    assert free.max() > 1 and torch.equal(gaussian_noise(clean, 25, 0), free.clamp(0, 1))


def test_the_pixels_of_a_seed_stay_what_they_were():
    noise = gaussian_noise(torch.zeros(1, 3, 2, 2), 255, 7, clip=False).flatten()[:4]
    assert torch.equal(noise, torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(7)).flatten()[:4])


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
