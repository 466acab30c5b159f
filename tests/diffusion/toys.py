"""Distributions whose diffusion is known exactly, and denoisers that stand in for a network."""

import torch


class GaussianDenoiser:
    """The exact E[epsilon | x_t] (or x_0, or v) where every value of x_0 is N(mean, std^2): the network that training looks for."""

    def __init__(self, process, mean, std):
        self.process, self.mean, self.std = process, mean, std

    def __call__(self, x, t):
        bar = self.process.alpha_bar.to(x)[t].reshape(-1, 1, 1, 1)
        spread = bar * self.std**2 + 1 - bar
        x_0 = self.mean + bar.sqrt() * self.std**2 / spread * (x - bar.sqrt() * self.mean)
        epsilon = (x - bar.sqrt() * x_0) / (1 - bar).sqrt()
        return {"x_0": x_0, "epsilon": epsilon, "v": bar.sqrt() * epsilon - (1 - bar).sqrt() * x_0}[self.process.prediction]


def crooked(x, t):
    """A fixed nonlinear function of state and time, picture by picture: as good as any network for comparing samplers."""
    clock = t.to(x).reshape(-1, 1, 1, 1) / 1000
    return torch.tanh(1.3 * x + 0.4 * x.roll(1, -1)) * (0.6 + 0.5 * torch.sin(5 * clock)) + 0.2 * torch.cos(3 * x.flip(-2))
