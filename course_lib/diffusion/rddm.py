"""RDDM: residual denoising diffusion (Liu et al., "Residual denoising diffusion models", CVPR 2024).

Two things are taken from the clean image at two speeds: towards the degraded image goes the residual, towards uncertainty the noise.

    forward      x_t = x_(t-1) + alpha_t residual + beta_t eps          x_t = x0 + abar_t residual + bbar_t eps
    backward     x_s = x_t - (abar_t - abar_s) residual - (bbar_t - sqrt(bbar_s^2 - sigma^2)) eps + sigma z
                 sigma^2 = eta (bbar_t^2 - bbar_s^2) bbar_s^2 / bbar_t^2

abar runs to 1, so the walk ends, or a restoration starts, at x_in + sqrt(sum_scale) eps: not at pure noise, which has forgotten the input.

Paper -> here: alpha_t `alphas`, abar_t `alphas_cumsum`, beta_t^2 `betas2`, bbar_t^2 `betas2_cumsum`, bbar_t `betas_cumsum`, I_res
`residual`, I_in `x_in`, I_0 `x0`; all buffers have the official names.

Where the official code goes its own way (we follow it, so that its networks give the same images):
- The residual is cut to [-1, 1], though between two images in [-1, 1] it can be as large as 2.
- The posterior coefficients at t = 0 come out wrong (what precedes the first step is taken to be 1 instead of 0) and are then set by
  hand to (0, 0, 1); 1 - abar_T is set to 1e-6, so that "pred_noise" can divide by it.
- eta is forced to 0 for restoration, whatever was asked; here it is what you say.
- sum_scale is 0.01 unless set; the deraining experiment sets 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.residual import ResidualProcess

OBJECTIVES = ("pred_res_noise", "pred_res", "pred_noise", "pred_res_add_noise", "pred_x0_noise", "pred_x0_add_noise")


def coefficients(timesteps: int, schedule: str, total: float = 1.0) -> Tensor:
    """(T,) positive numbers that sum to `total`, float64: "increased" and "decreased" on a straight line, "average" all alike.

    Raises ValueError for another schedule.
    """
    line = torch.arange(1, timesteps + 1, dtype=torch.float64)
    shapes = {"increased": line, "decreased": line.flip(0), "average": torch.ones_like(line)}
    if schedule not in shapes:
        raise ValueError(f"coefficients: schedule is increased, decreased or average, got {schedule!r}")
    return shapes[schedule] / shapes[schedule].sum() * total


def posterior_schedules(alphas: Tensor, alphas_cumsum: Tensor, betas2: Tensor, betas2_cumsum: Tensor) -> dict[str, Tensor]:
    """All official buffers from the two pairs of schedules: roots, and mean and variance of q(x_(t-1) | x_t, residual, x0)."""
    # The official padding by 1. Only entry 0 sees it, and that is set by hand below.
    alphas_before, betas2_before = (F.pad(values[:-1], (1, 0), value=1.0) for values in (alphas_cumsum, betas2_cumsum))
    variance = betas2 * betas2_before / betas2_cumsum
    variance[0] = 0
    coef1, coef3 = betas2_before / betas2_cumsum, betas2 / betas2_cumsum
    coef2 = (betas2 * alphas_before - betas2_before * alphas) / betas2_cumsum
    coef1[0], coef2[0], coef3[0] = 0, 0, 1
    one_minus = 1 - alphas_cumsum
    one_minus[-1] = 1e-6
    return dict(
        alphas=alphas, alphas_cumsum=alphas_cumsum, one_minus_alphas_cumsum=one_minus,
        betas2=betas2, betas=betas2.sqrt(), betas2_cumsum=betas2_cumsum, betas_cumsum=betas2_cumsum.sqrt(),
        posterior_mean_coef1=coef1, posterior_mean_coef2=coef2, posterior_mean_coef3=coef3,
        posterior_variance=variance, posterior_log_variance_clipped=variance.clamp(min=1e-20).log(),
    )  # fmt: skip


class RDDM(ResidualProcess):
    """The process with T = `timesteps` and noise of variance `sum_scale` at its end. `alphas`, `betas2`: schedules of `coefficients`.

    `objective`: what the network predicts; "pred_res_noise" (residual, noise) | "pred_res" | "pred_noise", the last two of a network with
    one output or two; "add_noise": the second output is the first plus the noise; "x0": the first output is the clean image.
    Raises ValueError for an unknown objective or schedule.
    """

    def __init__(
        self,
        timesteps: int = 1000,
        sum_scale: float = 0.01,
        objective: str = "pred_res_noise",
        alphas: str = "decreased",
        betas2: str = "increased",
        cut: bool = True,
    ):
        if objective not in OBJECTIVES:
            raise ValueError(f"RDDM: unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}")
        alphas, betas2 = coefficients(timesteps, alphas), coefficients(timesteps, betas2, sum_scale)
        super().__init__(posterior_schedules(alphas, alphas.cumsum(0).clip(0, 1), betas2, betas2.cumsum(0).clip(0, 1)), sum_scale, cut)
        self.objective = objective

    def q_sample(self, x0: Tensor, x_in: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t = x0 + abar_t (x_in - x0) + bbar_t noise; images (B, C, H, W) in [-1, 1], one time or times (B,)."""
        return x0 + self.at("alphas_cumsum", t, x0) * (x_in - x0) + self.at("betas_cumsum", t, x0) * noise

    def posterior(self, x: Tensor, residual: Tensor, x0: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_(t-1) when x_t = x, the residual and x0 are known."""
        mean = self.at("posterior_mean_coef1", t, x) * x + self.at("posterior_mean_coef2", t, x) * residual
        return mean + self.at("posterior_mean_coef3", t, x) * x0, self.at("posterior_variance", t, x)

    def start(self, x_in: Tensor, noise: Tensor) -> Tensor:
        """Where restoration starts: x_in + sqrt(sum_scale) noise."""
        return x_in + self.sum_scale**0.5 * noise

    def predict(self, model, x: Tensor, x_in: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(residual, noise, x0) that the network sees in state x at times t (B,). Residual and x0 are cut to [-1, 1]."""
        first, *rest = self.outputs(self.run(model, x, x_in, t))
        abar, bbar = self.at("alphas_cumsum", t, x), self.at("betas_cumsum", t, x)
        if self.objective == "pred_res":
            residual = self.bounded(first)
            # what noise must have been there: x_t = x_in + (abar - 1) residual + bbar noise
            return residual, (x - x_in - (abar - 1) * residual) / bbar, (x_in - residual).clamp(-1, 1)
        if self.objective == "pred_noise":
            x0 = ((x - abar * x_in - bbar * first) / self.at("one_minus_alphas_cumsum", t, x)).clamp(-1, 1)
            return self.bounded(x_in - x0), first, x0
        noise = rest[0] - first if self.objective.endswith("add_noise") else rest[0]
        if self.objective.startswith("pred_x0"):
            return self.bounded(x_in - first), noise, first.clamp(-1, 1)
        residual = self.bounded(first)
        return residual, noise, (x - abar * residual - bbar * noise).clamp(-1, 1)

    def outputs(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The first output for "pred_res", the last for "pred_noise", two for the others; raises ValueError where there are not two."""
        if self.objective in ("pred_res", "pred_noise"):
            return (parts[0 if self.objective == "pred_res" else -1],)
        if len(parts) != 2:
            raise ValueError(f"RDDM: objective {self.objective!r} needs a network with two outputs, this one has {len(parts)}")
        return parts

    def move(self, x: Tensor, x_in: Tensor, t: int, s: int, residual: Tensor, eps: Tensor, eta: float, z: Tensor | None) -> Tensor:
        """From time t to an earlier s, the backward step above."""
        betas2_t, betas2_s = self.at("betas2_cumsum", t, x), self.at("betas2_cumsum", s, x)
        sigma2 = eta * ((betas2_t - betas2_s) * betas2_s / betas2_t)
        x = x - (self.at("alphas_cumsum", t, x) - self.at("alphas_cumsum", s, x)) * residual
        x = x - (self.at("betas_cumsum", t, x) - (betas2_s - sigma2).sqrt()) * eps
        return x if z is None else x + sigma2.sqrt() * z

    def targets(self, x0: Tensor, x_in: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """What the network's outputs should have been, by objective."""
        first = x0 if self.objective.startswith("pred_x0") else x_in - x0
        if self.objective in ("pred_res", "pred_noise"):
            return (first if self.objective == "pred_res" else noise,)
        return first, first + noise if self.objective.endswith("add_noise") else noise
