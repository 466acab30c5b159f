"""The autoencoder: its distribution against torch's, sizes, that it learns; its weights fit into a lesson."""

import pytest
import torch
from tiny_models import perturbed
from torch.distributions import Normal, kl_divergence

from course_lib.models.autoencoder import AutoencoderKL, Gaussian


def test_divergence_and_draws_are_those_of_torch():
    mean, log_variance, epsilon = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    theirs = Normal(mean, (0.5 * log_variance).exp())
    wanted = kl_divergence(theirs, Normal(torch.zeros(()), torch.ones(()))).mean((1, 2, 3))
    assert torch.allclose(Gaussian(mean, log_variance).divergence(), wanted, atol=1e-5)
    assert torch.allclose((Gaussian(mean, log_variance).sample(epsilon) - theirs.mean) / theirs.stddev, epsilon, atol=1e-5)


def test_a_factor_of_four_each_way_and_small_enough_to_ship():
    model = perturbed(AutoencoderKL(dim=8, blocks=2, latent_channels=3))
    image = torch.rand(2, 3, 20, 12)
    codes = model.encode(image)
    assert codes.mean.shape == codes.log_variance.shape == (2, 3, 5, 3)
    assert model(image).shape == image.shape and torch.allclose(model(image)[1:], model(image[1:]), atol=1e-5)
    assert 4 * sum(p.numel() for p in AutoencoderKL().parameters()) < 8e6


def test_it_learns_and_every_weight_takes_part():
    model = AutoencoderKL(dim=8, latent_channels=4)
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4, generator=generator), scale_factor=4, mode="bilinear")
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(60):
        loss = model.loss(images, torch.randn(8, 4, 4, 4, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
    assert model.calibrate(images) == pytest.approx(1 / float(model.encode(images).mean.detach().std()))
    assert "scale" in model.state_dict(), "the scale is shipped with the weights"


def test_errors():
    with pytest.raises(ValueError, match="divide by 4; got 18x16"):
        AutoencoderKL(dim=8)(torch.rand(1, 3, 18, 16))
    with pytest.raises(ValueError, match="divide by 8"):
        AutoencoderKL(dim=12)
    with pytest.raises(ValueError, match="do not differ"):
        model = AutoencoderKL(dim=8)
        for parameter in model.parameters():
            parameter.data.zero_()
        model.calibrate(torch.rand(2, 3, 8, 8))
