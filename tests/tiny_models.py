"""The smallest Restormer with several heads, and any model moved off its initial values."""

import torch

TINY = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 2, 2])


def perturbed(model, scale=0.08, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model
