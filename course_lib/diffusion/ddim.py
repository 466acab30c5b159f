"""DDIM: the DDPM's network, any number of steps, and as much noise on the way as wanted (Song, Meng and Ermon, ICLR 2021).

    x_s = sqrt(alpha_bar_s) x_0  +  sqrt(1 - alpha_bar_s - sigma^2) epsilon  +  sigma z                                       (eq. 12)
    sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)                               (eq. 16)

The paper writes alpha for what DDPM, and this code, call alpha-bar. x_0 and epsilon are the network's, z is standard normal, s is the
time after t in the chain. eta = 0: no noise, so the starting noise decides the picture; eta = 1: the DDPM over the same times.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from course_lib.diffusion.chain import Condition, Model, Noise, State, ask, clipped, last_state, step_noise
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.schedules import visited_times


def sigma_of(process: DDPM, t: int, s: int, eta: float) -> float:
    """Standard deviation of the noise that the step from t to s adds (eq. 16); 0 for s = -1."""
    bar_t, bar_s = process.level(t), process.level(s)
    return eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)) ** 0.5


def steps(
    process: DDPM,
    model: Model,
    noise: Tensor,
    *,
    steps: int = 50,
    eta: float = 0.0,
    generator: Noise = None,
    clip: float | bool | None = 1.0,
    clip_epsilon: bool = False,
    spacing: str | Sequence[int] = "leading",
    condition: Condition = None,
    after: State | None = None,
) -> Iterator[State]:
    """The chain from `noise` (B, C, H, W), a State after each step. Options as in `sample`. Raises ValueError."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta lies in [0, 1], got {eta}")
    times = visited_times(process.T, steps, spacing)
    draw = step_noise(generator, noise)
    first, x = (after.step, after.x) if after else (0, noise)
    for step, (t, s) in enumerate(zip(times, [*times[1:], -1], strict=True)):
        if step < first:
            continue
        told = process.predict(ask(model, x, t, condition), x, t)
        x_0 = clipped(told.x_0, clip)
        epsilon = process.predict(x_0, x, t, "x_0").epsilon if clip_epsilon else told.epsilon
        sigma = sigma_of(process, t, s, eta)
        bar_s = process.level(s)
        x = bar_s**0.5 * x_0 + max(0.0, 1 - bar_s - sigma**2) ** 0.5 * epsilon
        if sigma > 0:
            x = x + sigma * draw(step, t)
        yield State(step + 1, s, x, x_0)


def sample(process: DDPM, model: Model, noise: Tensor, *, steps: int = 50, eta: float = 0.0, progress: bool = False, **options) -> Tensor:
    """x_0 (B, C, H, W) in about [-1, 1] out of standard normal `noise` of that shape, in `steps` calls of the network.

    `eta` in [0, 1]. `generator`: the noise of the steps (eta > 0), see chain.py. `clip`: bound of the estimates of x_0, None for
    latents; `clip_epsilon=True` makes epsilon agree with a clipped x_0 (as DDPM does; diffusers leaves it). `spacing`: see schedules.py,
    "trailing" for a handful of steps. `condition`: keywords for the model. `after`: go on from a State of `steps`. Raises ValueError.
    """
    after = options.get("after")
    total = len(visited_times(process.T, steps, options.get("spacing", "leading"))) - (after.step if after else 0)
    return last_state(_steps(process, model, noise, steps=steps, eta=eta, **options), total, progress, "DDIM").x


_steps = steps  # inside `sample` that name is the number of steps
