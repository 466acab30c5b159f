"""What the shipped priors can do with patches of photographs that they never saw, and what they cannot: lesson 04 says the same."""

import numpy as np
import pytest
import torch

from course_lib.diffusion import ddnm
from course_lib.diffusion.chain import starting_noise
from course_lib.diffusion.operators import Colourisation, CompressedSensing, Inpainting, SuperResolution
from course_lib.metrics import psnr
from course_lib.paths import shipped_weights
from course_lib.training import load_weights


def shipped(name):
    if not shipped_weights(name).is_file():
        pytest.skip(f"{name} is not there")
    return load_weights(shipped_weights(name))


@pytest.fixture(scope="module")
def prior():
    return shipped("ddpm_patches_small")


def patches(photos, count, side, seed):
    """Random patches, flat ones too, (count, 3, side, side)."""
    rng, images = np.random.default_rng(seed), list(photos.values())
    found = []
    for number in range(count):
        image = images[number % len(images)]
        top, left = (int(rng.integers(0, size - side + 1)) for size in image.shape[-2:])
        found.append(image[:, top : top + side, left : left + side])
    return torch.stack(found)


def pseudo_inverse(A, y, like):
    """A^+ y in [-1, 1], as an image: what is not measured is mid-grey."""
    return (1 + A.pinv(2 * y - A(torch.ones_like(like)))) / 2


def restored(prior, A, y, shape, seed, steps):
    return ddnm.restore(prior.process, prior.network, A, y, starting_noise(shape, seed), steps=steps, spacing="trailing")


def mean_psnr(pictures, clean):
    return float(psnr(pictures.clamp(0, 1), clean).mean())


def half_of_the_pixels():
    return Inpainting((torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(11)) < 0.5).float())


@pytest.mark.parametrize("A", [half_of_the_pixels(), CompressedSensing(32, 32, 0.5, seed=11)], ids=lambda A: type(A).__name__)
def test_what_is_missing_is_found_better_than_by_the_pseudo_inverse(prior, photos, A):
    clean = patches(photos, 5, 32, seed=12)
    y = A(clean)
    found = restored(prior, A, y, clean.shape, 13, steps=40)
    assert mean_psnr(found, clean) > mean_psnr(pseudo_inverse(A, y, clean), clean) + 2
    assert (A(found) - y).abs().max() < 1e-4


@pytest.mark.slow
def test_the_mean_of_eight_samples_of_super_resolution_is_no_worse(prior, photos):
    A, clean = SuperResolution(2), patches(photos, 5, 32, seed=14)
    y = A(clean)
    samples = restored(prior, A, y.repeat_interleave(8, 0), (40, 3, 32, 32), 15, steps=20)
    assert (A(samples) - y.repeat_interleave(8, 0)).abs().max() < 1e-4
    mean = samples.unflatten(0, (5, 8)).mean(1)
    assert mean_psnr(mean, clean) >= mean_psnr(pseudo_inverse(A, y, clean), clean)
    assert mean_psnr(mean, clean) > mean_psnr(samples, clean.repeat_interleave(8, 0)), "a mean beats its samples"


def test_colours_agree_with_the_brightness_and_differ_from_start_to_start(prior, photos):
    A, clean = Colourisation(), patches(photos, 5, 32, seed=16)
    y = A(clean)
    one, two = (restored(prior, A, y, clean.shape, seed, steps=25) for seed in (17, 117))
    for found in (one, two):
        assert (A(found) - y).abs().max() < 1e-4
        assert (found - y).abs().mean() > 0.01, "it is not grey"
    assert (one - two).abs().mean() > 0.01, "nobody knows the colours, so the starts decide"


def test_what_does_not_work_a_hole_is_not_filled_with_what_was_there(prior, photos):
    """Around the hole the picture is exact; inside it is invented. Should a better prior ever get 20 dB, lesson 04 has to say so."""
    clean, inside = patches(photos, 5, 32, seed=18), (..., slice(8, 24), slice(8, 24))
    mask = torch.ones(1, 1, 32, 32)
    mask[inside] = 0
    A = Inpainting(mask)
    found = restored(prior, A, A(clean), clean.shape, 19, steps=25)
    assert torch.allclose(found * mask, clean * mask, atol=1e-5)
    assert mean_psnr(found[inside].contiguous(), clean[inside].contiguous()) < 20


def test_the_latent_prior_draws_patches_and_its_autoencoder_is_the_ceiling(photos):
    latent = shipped("latent_small")
    clean = patches(photos, 10, 64, seed=20)
    codes = latent.encode(clean)
    assert codes.shape == (10, 4, 16, 16) and 0.7 < codes.std() < 1.4
    assert 26 < mean_psnr(latent.decode(codes), clean) < 33
    noise = starting_noise((4, 4, 16, 16), 21)
    drawn = latent.sample(noise, steps=10)
    assert drawn.shape == (4, 3, 64, 64) and drawn.min() >= 0 and drawn.max() <= 1
    assert torch.allclose(latent.sample(noise[:1], steps=10), drawn[:1], atol=1e-4)
    assert 0.05 < drawn.std((1, 2, 3)).mean() < 0.4, "neither flat nor noise"
    assert drawn.diff(dim=-1).abs().mean() < 0.5 * latent.decode(noise).diff(dim=-1).abs().mean(), "smoother than decoded noise"
