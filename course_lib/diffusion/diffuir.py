"""DiffUIR: one diffusion for every degradation (Zheng et al., "Selective hourglass mapping for universal image restoration", CVPR 2024).

RDDM ends at the degraded image plus noise, so every degradation ends somewhere else. DiffUIR also lets the degraded image itself fade,
so that all of them meet near one distribution, the shared one, on the way there and part again on the way back.

    forward      x_t = x_(t-1) + alpha_t residual + beta_t eps - delta_t x_in
                 x_t = x0 + abar_t residual + bbar_t eps - dbar_t x_in
    start        x_T = (1 - dbar_T) x_in + 0.1 eps
    backward     x_s = x_t - (abar_t - abar_s) residual + (dbar_t - dbar_s) x_in (+ sigma z), then x_in - residual

Paper -> here: abar_t `alphas_cumsum`, bbar_t `betas_cumsum`, delta_t `delta`, dbar_t `delta_cumsum`, I_in `x_in`, I_0 `x0`.
abar and bbar are not RDDM's straight lines, but abar_t = 1 - sqrt(prod(1 - beta)) and bbar_t^2 = 1 - prod(1 - beta) with DDPM's betas,
1e-4 to 0.02.

Where the official code goes its own way (we follow it, so that its networks give the same images):
- Training adds noise up to bbar_T = 0.99998; sampling starts from sqrt(sum_scale) = 0.1. `start_std` says otherwise if you like, and
  `walk_noise` trains on the states that sampling meets: noise of `start_std` at every time.
- The step back leaves RDDM's noise term out: the noise of the start stays in the state, and only the network's residual counts.
- Its posterior coefficients are RDDM's and know nothing of the shared term; `posterior` here adds it.
- delta and betas are steps, not rates: with another T they add up to another total.
- Just before testing, the schedule is made anew with T = 1000 and alphas[0] = alphas[1]; no sampled image depends on it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.rddm import posterior_schedules
from course_lib.diffusion.residual import ResidualProcess


class DiffUIR(ResidualProcess):
    """The process with T = `timesteps`, a start of variance `sum_scale`, and delta from 1e-6 to `delta_end`.

    The network predicts the residual. `start_std`: the noise of the start if it is not sqrt(sum_scale); what training had at T is
    `float(process.betas_cumsum[-1])`. `walk_noise`: `loss` adds noise of start_std at every time, as the states of a walk hold it (no step
    takes it out), instead of bbar_t; the official code trains without. `cut`: see ResidualProcess.
    """

    def __init__(
        self,
        timesteps: int = 1000,
        sum_scale: float = 0.01,
        delta_end: float = 1.8e-3,
        start_std: float | None = None,
        walk_noise: bool = False,
        cut: bool = True,
    ):
        delta = torch.linspace(1e-6, delta_end, timesteps, dtype=torch.float32)
        remaining = (1 - torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float32)).cumprod(0)  # float32 throughout, as the official code
        alphas_cumsum, betas2_cumsum = 1 - remaining**0.5, 1 - remaining
        alphas, betas2 = (F.pad(values.diff(), (1, 0)) for values in (alphas_cumsum, betas2_cumsum))  # 0 at t = 0, as there
        schedules = posterior_schedules(alphas, alphas_cumsum, betas2, betas2_cumsum)
        super().__init__(dict(schedules, delta=delta, delta_cumsum=delta.cumsum(0).clip(0, 1)), sum_scale, cut)
        self.start_std = sum_scale**0.5 if start_std is None else start_std
        self.walk_noise = walk_noise

    def network_time(self, t: Tensor) -> Tensor:
        """The network is told abar_t * T, a float (B,), not t."""
        return self.alphas_cumsum.to(t.device)[t] * self.num_timesteps

    def q_sample(self, x0: Tensor, x_in: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t = x0 + abar_t (x_in - x0) + bbar_t noise - dbar_t x_in; images (B, C, H, W) in [-1, 1], one time or times (B,)."""
        x = x0 + self.at("alphas_cumsum", t, x0) * (x_in - x0) + self.at("betas_cumsum", t, x0) * noise
        return x - self.at("delta_cumsum", t, x0) * x_in

    def training_state(self, x0: Tensor, x_in: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The state that `loss` shows the network: q_sample's, or with `walk_noise` one that a walk comes by."""
        if self.walk_noise:  # the same mean, other noise
            noise = noise * (self.start_std / self.at("betas_cumsum", t, x0))
        return self.q_sample(x0, x_in, t, noise)

    def posterior(self, x: Tensor, residual: Tensor, x0: Tensor, x_in: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_(t-1) when x_t = x, the residual, x0 and x_in are known, the shared term included; t >= 1."""
        coef1, coef3 = self.at("posterior_mean_coef1", t, x), self.at("posterior_mean_coef3", t, x)
        before = self.at("delta_cumsum", t, x) - self.at("delta", t, x)  # dbar_(t-1)
        mean = coef1 * x + self.at("posterior_mean_coef2", t, x) * residual + coef3 * x0
        return mean + (coef1 * self.at("delta", t, x) - coef3 * before) * x_in, self.at("posterior_variance", t, x)

    def start(self, x_in: Tensor, noise: Tensor) -> Tensor:
        """Where restoration starts: (1 - dbar_T) x_in + start_std noise."""
        return (1 - self.at("delta_cumsum", -1, x_in)) * x_in + self.start_std * noise

    def predict(self, model, x: Tensor, x_in: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(residual, noise, x0) that the network sees in state x at times t (B,). Residual and x0 are cut to [-1, 1]."""
        (first,) = self.outputs(self.run(model, x, x_in, t))
        residual = self.bounded(first)
        known = (1 - self.at("delta_cumsum", t, x)) * x_in + (self.at("alphas_cumsum", t, x) - 1) * residual
        return residual, (x - known) / self.at("betas_cumsum", t, x), (x_in - residual).clamp(-1, 1)

    def outputs(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The first output, the residual, also of a network that has two."""
        return parts[:1]

    def move(self, x: Tensor, x_in: Tensor, t: int, s: int, residual: Tensor, eps: Tensor, eta: float, z: Tensor | None) -> Tensor:
        """From time t to an earlier s: residual out, input back in; `eps` is not used."""
        x = x - (self.at("alphas_cumsum", t, x) - self.at("alphas_cumsum", s, x)) * residual
        x = x + (self.at("delta_cumsum", t, x) - self.at("delta_cumsum", s, x)) * x_in
        if z is None:
            return x
        betas2_t, betas2_s = self.at("betas2_cumsum", t, x), self.at("betas2_cumsum", s, x)
        return x + (eta * ((betas2_t - betas2_s) * betas2_s / betas2_t)).sqrt() * z

    def targets(self, x0: Tensor, x_in: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The residual."""
        return (x_in - x0,)
