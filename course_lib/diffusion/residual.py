"""What the residual processes (RDDM, DiffUIR) share: schedules as buffers, the walk from a degraded image to a clean one, the loss.

Inside a process images lie in [-1, 1]: x0 the clean one, x_in the degraded one, residual = x_in - x0, x_t the state at time t = 0 ... T-1.
At the doors (`loss`, `sample`) they lie in [0, 1] like everywhere else. A process holds no weights: it is handed the network.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.diffusion.chain import Noise, step_noise


class State(NamedTuple):
    """One state of a walk: `x` at time `t` (-1: done), and what was predicted to get there (None at the start)."""

    t: int
    x: Tensor
    residual: Tensor | None = None
    noise: Tensor | None = None
    x0: Tensor | None = None

    @property
    def image(self) -> Tensor:
        """The state as an image, noise and all, scaled to [0, 1]; only the last one is sure to stay inside."""
        return (self.x + 1) * 0.5

    @property
    def estimate(self) -> Tensor | None:
        """The clean image as it was believed to be on the last step, in [0, 1]."""
        return None if self.x0 is None else (self.x0 + 1) * 0.5


def sampling_times(timesteps: int, steps: int) -> list[int]:
    """steps + 1 times from T-1 down to -1, evenly spaced, cut to whole numbers: 999, 665, 332, -1 for T = 1000 and three steps.

    Raises ValueError unless 1 <= steps <= T.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"between 1 and {timesteps} steps, got {steps}")
    # in float32, as the official code: a time that is whole in real numbers must be cut the same way
    return list(reversed(torch.linspace(-1, timesteps - 1, steps + 1, dtype=torch.float32).int().tolist()))


class ResidualProcess(nn.Module):
    """Base of RDDM and DiffUIR. `schedules`: name -> (T,) numbers, kept as float32 buffers under the official names.

    `cut`: residuals are cut to [-1, 1], as the official codes do, though a dark picture is further than that from its clean one.
    Derived classes say what the equations are: `q_sample`, `start`, `predict`, `move`, `targets`.
    """

    def __init__(self, schedules: dict[str, Tensor], sum_scale: float, cut: bool = True):
        super().__init__()
        self.cut = cut
        for name, values in schedules.items():
            self.register_buffer(name, values.float())
        self.num_timesteps = len(self.alphas)
        self.sum_scale = sum_scale

    def at(self, name: str, t: int | Tensor, x: Tensor) -> Tensor:
        """The schedule `name` at t, on the device of x: a scalar for one time, (B, 1, 1, 1) for times (B,)."""
        value = getattr(self, name).to(x.device)[t]
        return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value

    def run(self, model, x: Tensor, x_in: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """What the network says of state x at times t (B,): its outputs as a tuple, in the precision of x."""
        output = model(torch.cat([x, x_in], dim=1), self.network_time(t))
        return tuple(part.to(x.dtype) for part in (output if isinstance(output, (tuple, list)) else (output,)))

    def bounded(self, residual: Tensor) -> Tensor:
        """A predicted residual as the walk uses it."""
        return residual.clamp(-1, 1) if self.cut else residual

    def network_time(self, t: Tensor) -> Tensor:
        """The time as the network wants it, from the step t (B,)."""
        return t

    @torch.no_grad()
    def steps(self, model, degraded: Tensor, steps: int, noise: Tensor, eta: float = 0.0, generator: Noise = None) -> Iterator[State]:
        """The walk, state by state: the start, then one state for each step; stop taking them and it stops. Arguments as in `sample`."""
        times = sampling_times(self.num_timesteps, steps)
        if noise.shape != degraded.shape:
            raise ValueError(f"noise is {tuple(noise.shape)}, the degraded images are {tuple(degraded.shape)}: they must be alike")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta lies between 0 (no fresh noise) and 1, got {eta}")
        fresh = step_noise(generator, noise) if eta else None
        x_in = 2 * degraded - 1
        x = self.start(x_in, noise.to(x_in))
        yield State(times[0], x)
        for step, (t, s) in enumerate(zip(times, times[1:], strict=False)):
            batch = torch.full((len(x),), t, dtype=torch.long, device=x.device)
            residual, eps, x0 = self.predict(model, x, x_in, batch)
            # the last step goes straight to the clean image that was predicted
            x = x0 if s < 0 else self.move(x, x_in, t, s, residual, eps, eta, fresh(step, t).to(x) if eta else None)
            yield State(s, x, residual, eps, x0)

    def sample(
        self,
        model,
        degraded: Tensor,
        steps: int,
        noise: Tensor,
        eta: float = 0.0,
        *,
        generator: Noise = None,
        progress: bool = False,
        states: bool = False,
    ) -> Tensor | tuple[Tensor, list[State]]:
        """Restore `degraded` (B, 3, H, W) in [0, 1] -> same, in `steps` steps from the standard normal start `noise` (B, 3, H, W).

        `model(image6, t)`: the network. `eta`: 0 adds no noise on the way (the same start gives the same image), 1 as much as the posterior
        has; `generator`: where it comes from (`chain.step_noise`). An image is the same whatever batch it is in.
        `progress`: a bar. `states`: also the list of all states. Raises ValueError for a number of steps or shapes that do not fit.
        """
        walk = self.steps(model, degraded, steps, noise, eta, generator)
        if progress:
            from tqdm.auto import tqdm

            walk = tqdm(walk, total=steps + 1, desc=type(self).__name__, leave=False)
        seen, state = [], None
        for state in walk:
            if states:
                seen.append(state)
        return (state.image, seen) if states else state.image

    def loss(
        self, model, degraded: Tensor, clean: Tensor, t: Tensor | None = None, noise: Tensor | None = None, *, each: bool = False
    ) -> Tensor:
        """Mean absolute error of what the network predicts at times t (B,), summed over its outputs; (B,) of the images with `each`.

        degraded, clean (B, 3, H, W) in [0, 1]. Times and noise that are not given are drawn by torch, uniform and standard normal.
        """
        x_in, x0 = 2 * degraded - 1, 2 * clean - 1
        t = torch.randint(0, self.num_timesteps, (len(x0),), device=x0.device) if t is None else t.to(x0.device)
        noise = torch.randn_like(x0) if noise is None else noise.to(x0)
        outputs = self.outputs(self.run(model, self.training_state(x0, x_in, t, noise), x_in, t))
        targets = self.targets(x0, x_in, noise)
        errors = sum(F.l1_loss(got, want, reduction="none").flatten(1).mean(1) for got, want in zip(outputs, targets, strict=True))
        return errors if each else errors.mean()

    def walk_loss(self, model, degraded: Tensor, clean: Tensor, steps: int, noise: Tensor, step: int) -> Tensor:
        """What the network does wrong on the way: the walk's own state before `step` (0 ... steps-1) instead of a true one, (B,).

        A true state x_t holds part of the answer, which the network learns to read off; a walk's state holds only what it has said before.
        Mean absolute error of the clean image and of the residual that are predicted there, in [-1, 1]. No gradient runs along the walk.
        """
        x_in, x0 = 2 * degraded - 1, 2 * clean - 1
        state = next(islice(self.steps(model, degraded, steps, noise), step, None))
        t = torch.full((len(x0),), state.t, dtype=torch.long, device=x0.device)
        residual, _, estimate = self.predict(model, state.x, x_in, t)
        return ((estimate - x0).abs() + (residual - (x_in - x0)).abs()).flatten(1).mean(1)

    def training_state(self, x0: Tensor, x_in: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The state x_t that `loss` shows the network."""
        return self.q_sample(x0, x_in, t, noise)

    def outputs(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Those of the network's outputs that the process uses."""
        return parts
