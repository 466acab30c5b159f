"""DDPM: a picture is destroyed by noise in T small steps, and a network learns to go back (Ho, Jain and Abbeel, NeurIPS 2020).

    forward     q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I)
                q(x_t | x_0)     = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)
    posterior   q(x_s | x_t, x_0) = N(mu_tilde, beta_tilde I)            s < t, one step or several apart
    backward    x_s ~ q(x_s | x_t, x_0), with the network's estimate of x_0

| paper                   | here                       | meaning                                                        |
|-------------------------|----------------------------|----------------------------------------------------------------|
| T, t = 1 ... T          | `T`, `t` = 0 ... T-1       | t counts from 0, and -1 is the clean picture                   |
| beta_t, alpha_t         | `beta`, `alpha`            | variance added by a step, 1 - beta                             |
| alpha-bar_t             | `alpha_bar`                | product of the alphas: the share of the picture's power left   |
| beta-tilde_t            | `beta_tilde`               | variance of the posterior                                      |
| x_0, x_t, epsilon       | `x_0`, `x_t`, `epsilon`    | clean picture in [-1, 1], noisy one, standard normal noise     |
| v                       | `v`                        | sqrt(alpha_bar) epsilon - sqrt(1 - alpha_bar) x_0 (Salimans and Ho 2022) |
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.diffusion.chain import Condition, Model, Noise, State, ask, clipped, last_state, step_noise
from course_lib.diffusion.schedules import make_alpha_bar, visited_times

PREDICTIONS = ("epsilon", "x_0", "v")
WEIGHTINGS = ("simple", "bound", "min_snr")


class Prediction(NamedTuple):
    """The three names of one answer of the network, each (B, C, H, W): any of them and x_t give the others."""

    x_0: Tensor
    epsilon: Tensor
    v: Tensor


class DDPM:
    """The process with T steps. `schedule`: "linear", "cosine", "scaled_linear", or the alpha-bars (T,) themselves.

    `prediction` says what the network gives: "epsilon", "x_0" or "v". Times are ints for the whole batch or (B,) int64.
    All else follows from `alpha_bar`, (T,) float64 on the CPU. Raises ValueError for unknown names and impossible alpha-bars.
    """

    def __init__(self, timesteps: int = 1000, schedule: str | Tensor = "linear", *, prediction: str = "epsilon"):
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is one of {', '.join(PREDICTIONS)}, not {prediction!r}")
        self.T = timesteps
        self.prediction = prediction
        self.alpha_bar = make_alpha_bar(timesteps, schedule)

    @property
    def alpha_bar_before(self) -> Tensor:
        """alpha-bar of the step before each, (T,): it begins with the 1 of the clean picture."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar.double().cpu()[:-1]])

    @property
    def alpha(self) -> Tensor:
        """alpha_t = alpha-bar_t / alpha-bar_{t-1}, (T,)."""
        return self.alpha_bar.double().cpu() / self.alpha_bar_before

    @property
    def beta(self) -> Tensor:
        """beta_t = 1 - alpha_t, the variance that step t adds, (T,)."""
        return 1 - self.alpha

    @property
    def beta_tilde(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x_0), (T,); 0 at t = 0 (eq. 7)."""
        return (1 - self.alpha_bar_before) / (1 - self.alpha_bar.double().cpu()) * self.beta

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha-bar / (1 - alpha-bar), (T,)."""
        alpha_bar = self.alpha_bar.double().cpu()
        return alpha_bar / (1 - alpha_bar)

    def level(self, t: int) -> float:
        """alpha-bar at one time, 1 for t = -1. Raises IndexError outside -1 ... T-1."""
        if not -1 <= t < self.T:
            raise IndexError(f"time {t} lies outside -1 ... {self.T - 1}")
        return float(self.alpha_bar[t]) if t >= 0 else 1.0

    def scales(self, t: int | Tensor, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """(sqrt(alpha-bar_t), sqrt(1 - alpha-bar_t)), two numbers for an int, or (B, 1, 1, 1) each in dtype and device of `x`."""
        if isinstance(t, int):
            return self.level(t) ** 0.5, (1 - self.level(t)) ** 0.5
        return _at(self.alpha_bar.double().sqrt(), t, x), _at((1 - self.alpha_bar.double()).sqrt(), t, x)

    # ---- forward -----------------------------------------------------------------------------------------------------

    def q_sample(self, x_0: Tensor, t: int | Tensor, epsilon: Tensor) -> Tensor:
        """x_t from x_0 in one step with the given standard normal noise, all (B, C, H, W) (eq. 4)."""
        signal, noise = self.scales(t, x_0)
        return signal * x_0 + noise * epsilon

    def q_step(self, x_s: Tensor, s: int, t: int, epsilon: Tensor) -> Tensor:
        """x_t from x_s, s <= t, by the forward process: N(sqrt(alpha-bar_t / alpha-bar_s) x_s, 1 - alpha-bar_t / alpha-bar_s)."""
        kept = self.level(t) / self.level(s)
        return kept**0.5 * x_s + (1 - kept) ** 0.5 * epsilon

    def posterior(self, x_0: Tensor, x_t: Tensor, t: int, s: int | None = None) -> tuple[Tensor, float]:
        """Mean (B, C, H, W) and variance of q(x_s | x_t, x_0); s is t - 1 unless given (eq. 6 and 7). Raises IndexError unless s < t."""
        s = t - 1 if s is None else s
        if not s < t:
            raise IndexError(f"the posterior goes back in time, from {t} to less, not to {s}")
        bar_t, bar_s = self.level(t), self.level(s)
        alpha = bar_t / bar_s  # of the whole way from s to t
        mean = bar_s**0.5 * (1 - alpha) / (1 - bar_t) * x_0 + alpha**0.5 * (1 - bar_s) / (1 - bar_t) * x_t
        return mean, (1 - bar_s) / (1 - bar_t) * (1 - alpha)

    # ---- what the network says ---------------------------------------------------------------------------------------

    def predict(self, output: Tensor, x_t: Tensor, t: int | Tensor, prediction: str | None = None) -> Prediction:
        """x_0, epsilon and v out of the network's `output` at x_t, all (B, C, H, W); `prediction` overrides what it is."""
        signal, noise = self.scales(t, x_t)
        kind = prediction or self.prediction
        if kind == "epsilon":
            x_0, epsilon = (x_t - noise * output) / signal, output
        elif kind == "x_0":
            x_0, epsilon = output, (x_t - signal * output) / noise
        elif kind == "v":
            return Prediction(signal * x_t - noise * output, signal * output + noise * x_t, output)
        else:
            raise ValueError(f"prediction is one of {', '.join(PREDICTIONS)}, not {kind!r}")
        return Prediction(x_0, epsilon, signal * epsilon - noise * x_0)

    def target(self, x_0: Tensor, t: int | Tensor, epsilon: Tensor) -> Tensor:
        """What the network should answer, by `prediction`, (B, C, H, W)."""
        signal, noise = self.scales(t, x_0)
        return {"epsilon": epsilon, "x_0": x_0, "v": signal * epsilon - noise * x_0}[self.prediction]

    # ---- training ----------------------------------------------------------------------------------------------------

    def draw_times(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """A time a picture, (B,) int64 on the CPU: uniform each, and spread over 0 ... T-1 within the batch, which steadies the loss."""
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        places = (torch.arange(batch, dtype=torch.float64) / batch + offset) % 1
        order = torch.randperm(batch, generator=generator)
        return (places[order] * self.T).long().clamp(max=self.T - 1)

    def weight(self, weighting: str = "simple", gamma: float = 5.0) -> Tensor:
        """Weight of each time in the loss of this `prediction`, (T,) float64. Raises ValueError for an unknown name.

        "simple" is 1 (eq. 14); "bound" is the variational bound's with sigma_t^2 = beta_t (eq. 12), in nats a value of the picture;
        "min_snr" is min(SNR, gamma) on x_0 (Hang et al. 2023), which stops the clean end from ruling.
        """
        alpha_bar = self.alpha_bar.double().cpu()
        if weighting == "simple":
            return torch.ones_like(alpha_bar)
        if weighting == "bound":
            on_epsilon = self.beta / (2 * self.alpha * (1 - alpha_bar))
        elif weighting == "min_snr":
            on_epsilon = self.snr.clamp(max=gamma) / self.snr
        else:
            raise ValueError(f"weighting is one of {', '.join(WEIGHTINGS)}, not {weighting!r}")
        # the same error, told as epsilon, x_0 or v: |d epsilon|^2 = SNR |d x_0|^2 = alpha-bar |d v|^2
        return on_epsilon * {"epsilon": torch.ones_like(alpha_bar), "x_0": self.snr, "v": alpha_bar}[self.prediction]

    def losses(
        self, model: Model, x_0: Tensor, t: Tensor, epsilon: Tensor, *, weighting: str = "simple", condition: Condition = None
    ) -> Tensor:
        """Weighted squared error of each picture, (B,) float32 or wider: mean over its values, for a log by noise level. Eq. 14 and 12."""
        t = t.to(x_0.device)
        output = model(self.q_sample(x_0, t, epsilon), t, **(condition or {}))
        target = self.target(x_0, t, epsilon)
        if output.dtype != target.dtype:  # half precision is for the network, not for the sum
            output, target = output.float(), target.float()
        error = (output - target).square().flatten(1).mean(1)
        return error if weighting == "simple" else error * _at(self.weight(weighting), t, error).flatten()

    def loss(self, model: Model, x_0: Tensor, t: Tensor, epsilon: Tensor, **options) -> Tensor:
        """Mean of `losses` over the batch, a scalar; the same options."""
        return self.losses(model, x_0, t, epsilon, **options).mean()

    def loss_by_level(self, losses: Tensor, t: Tensor, levels: int = 10) -> Tensor:
        """Mean loss in each of `levels` equal stretches of time, (levels,); NaN where no picture fell. Its mean weighs levels alike."""
        place = (t.to(losses.device) * levels // self.T).clamp(0, levels - 1)
        sums = torch.zeros(levels, dtype=losses.dtype, device=losses.device).index_add(0, place, losses.detach())
        return sums / torch.bincount(place, minlength=levels).to(losses.dtype)

    # ---- sampling ----------------------------------------------------------------------------------------------------

    def steps(
        self,
        model: Model,
        noise: Tensor,
        *,
        steps: int | None = None,
        generator: Noise = None,
        variance: str = "small",
        clip: float | bool | None = 1.0,
        spacing: str | Sequence[int] = "leading",
        condition: Condition = None,
        after: State | None = None,
    ) -> Iterator[State]:
        """Ancestral sampling from `noise` = x_T (B, C, H, W), a State after each step (algorithm 2). Options as in `sample`."""
        if variance not in ("small", "large"):
            raise ValueError(f'variance is "small" (beta-tilde) or "large" (beta), not {variance!r}')
        times = visited_times(self.T, steps, spacing)
        draw = step_noise(generator, noise)
        first, x = (after.step, after.x) if after else (0, noise)
        for step, (t, s) in enumerate(zip(times, [*times[1:], -1], strict=True)):
            if step < first:
                continue
            x_0 = clipped(self.predict(ask(model, x, t, condition), x, t).x_0, clip)
            x, smaller = self.posterior(x_0, x, t, s)
            if s >= 0:  # the last step adds none
                sigma2 = smaller if variance == "small" else 1 - self.level(t) / self.level(s)
                x = x + sigma2**0.5 * draw(step, t)
            yield State(step + 1, s, x, x_0)

    def sample(self, model: Model, noise: Tensor, *, steps: int | None = None, progress: bool = False, **options) -> Tensor:
        """x_0 (B, C, H, W) in about [-1, 1] out of standard normal `noise` of that shape, by all T steps or by `steps` of them.

        `generator`: the noise of the steps, see chain.py. `variance`: "small" (beta-tilde) or "large" (beta). `clip`: bound of the
        estimates of x_0, None for latents. `spacing`: see schedules.py. `condition`: keywords for the model. `after`: go on from a State
        that `steps` yielded. Raises ValueError.
        """
        after = options.get("after")
        total = len(visited_times(self.T, steps, options.get("spacing", "leading"))) - (after.step if after else 0)
        return last_state(self.steps(model, noise, steps=steps, **options), total, progress, "DDPM").x


def _at(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """table[t] as (B, 1, 1, 1) in the dtype and on the device of `x`; cast first, for not every device has float64."""
    return table.cpu().to(x.dtype).to(x.device)[t.to(x.device)].reshape(-1, *[1] * (x.ndim - 1))
