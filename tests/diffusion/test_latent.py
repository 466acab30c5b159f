"""Latent diffusion: the chain on codes, what trains, conditions by concatenation and by cross-attention, guidance."""

import pytest
import torch
from tiny_models import perturbed
from toys import crooked

from course_lib.diffusion import ddim
from course_lib.diffusion.chain import starting_noise
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.latent import LatentDiffusion, guided
from course_lib.models.autoencoder import AutoencoderKL, latent_shape
from course_lib.models.ddpm_unet import DDPMUNet


@pytest.fixture
def latent():
    autoencoder = perturbed(AutoencoderKL(dim=8, latent_channels=2))
    autoencoder.calibrate(torch.rand(4, 3, 16, 16))
    model = perturbed(DDPMUNet(dim=8, dim_mults=(1, 2), in_channels=4, out_channels=2, heads=2, head_width=4, context_width=5))
    return LatentDiffusion(autoencoder, model, DDPM(100, "cosine", prediction="v"))


def test_codes_have_deviation_one_and_come_back(latent):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    latent.autoencoder.calibrate(images)
    codes = latent.encode(images)
    assert codes.shape == latent_shape(latent.autoencoder, images) == (4, 2, 4, 4)
    assert float(codes.std()) == pytest.approx(1, rel=1e-4)
    assert torch.allclose(latent.decode(codes), latent.autoencoder(images).clamp(0, 1), atol=1e-5)


def test_sampling_is_ddim_on_codes_without_clipping(latent):
    context, concat = torch.randn(3, 4, 5), torch.randn(3, 2, 4, 4)
    condition = {"context": context, "concat": concat}
    noise = starting_noise((3, 2, 4, 4), 3)
    image = latent.sample(noise, steps=5, eta=1, condition=condition)
    wanted = ddim.sample(latent.process, latent.model, noise, steps=5, eta=1, clip=None, condition=condition)
    assert torch.equal(image, latent.decode(wanted)) and image.shape == (3, 3, 16, 16) and 0 <= image.min() and image.max() <= 1
    one = latent.sample(noise[1:2], steps=5, eta=1, condition={"context": context[1:2], "concat": concat[1:2]})
    assert torch.allclose(one, image[1:2], atol=1e-5)
    states = list(latent.steps(noise, steps=5, eta=1, condition=condition))
    assert len(states) == 5 and torch.equal(states[-1].x, wanted)
    assert torch.equal(latent.sample(noise, steps=5, eta=1, condition=condition, after=states[1]), image)


def test_restoring_hands_over_the_code_of_the_degraded_image(latent):
    degraded, noise, context = torch.rand(2, 3, 16, 16), starting_noise((2, 2, 4, 4)), torch.randn(2, 1, 5)
    wanted = latent.sample(noise, steps=3, condition={"concat": latent.encode(degraded), "context": context})
    assert torch.equal(latent.restore(degraded, noise, steps=3, condition={"context": context}), wanted)


def test_only_the_denoiser_learns(latent):
    latent.train()
    assert latent.model.training and not latent.autoencoder.training
    image, t = torch.rand(4, 3, 32, 32), torch.tensor([0, 30, 60, 99])
    condition = {**latent.beside(image), "context": torch.randn(4, 2, 5)}
    latent.loss(image, t, torch.randn(4, 2, 8, 8), weighting="min_snr", condition=condition).backward()
    assert all(parameter.grad is None for parameter in latent.autoencoder.parameters())
    for name, parameter in latent.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_guidance_is_between_and_beyond_two_conditions():
    def model(x, t, context):
        return crooked(x, t) * context

    x, t = torch.randn(2, 3, 4, 4), torch.tensor([3, 3])
    for weight in (0.0, 1.0, 3.0):
        answer = guided(model, weight, {"context": 0.5})(x, t, context=2.0)
        assert torch.allclose(answer, crooked(x, t) * (0.5 + weight * 1.5), atol=1e-6)
