"""DDNM: restoration without training, by a diffusion model that only knows what pictures look like (Wang, Yu and Zhang, ICLR 2023).

At every step the estimate of the clean picture keeps its null-space part and gets its range part from the measurement y = A x + n:

    x_0^ = A^+ y + (I - A^+ A) x_0                                                                              (eq. 13)

so that A x_0^ = y exactly. When y is noisy that would carve the noise into the picture; DDNM+ takes as much of the correction as the noise
of the step can hide, and adds so much less noise in the range space (section 3.3, written out for operators with one singular value a):

    x_0^ = x_0 + lambda A^+ (y - A x_0),     x_s = mean + sigma (I - P) z + sqrt(sigma^2 - (k lambda sigma_y / a)^2) P z,    P = A^+ A

with k the weight of x_0^ in the mean and lambda = 1 where k sigma_y / a <= sigma, else sigma a / (k sigma_y). Time travel (section 3.3)
goes back up `travel_length` steps by the forward process and down again, so that the two parts come to agree.

At eta 1 a step is the paper's, q(x_s | x_t, x_0^). Below 1 it is DDIM's with the epsilon that x_t and x_0^ imply (the official code keeps
the network's epsilon there, and gives eta another meaning).

The picture and y are in [0, 1] (house style); within, the chain runs in [-1, 1], where the measurement is 2 y - A(1) and its noise twice as
large. The result is not clamped, which would break A x = y.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from course_lib.diffusion.chain import Condition, Model, Noise, State, ask, clipped, last_state, step_noise
from course_lib.diffusion.ddim import sigma_of
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.operators import Operator
from course_lib.diffusion.schedules import visited_times


def moves(times: Sequence[int], travel_length: int = 1, travel_repeat: int = 1) -> list[tuple[int, int]]:
    """The steps (from, to) of a chain over falling `times` to -1: to < from denoises, to > from travels back in time.

    After each `travel_length` steps down, the chain goes up again to where they began, until they were done `travel_repeat` times;
    the last stretch, which ends in the clean picture, is done once. Raises ValueError for numbers below 1.
    """
    if travel_length < 1 or travel_repeat < 1:
        raise ValueError(f"travel_length and travel_repeat are at least 1, got {travel_length} and {travel_repeat}")
    stops = [*times, -1]
    path = []
    for start in range(0, len(times), travel_length):
        end = min(start + travel_length, len(times))
        down = list(zip(stops[start:end], stops[start + 1 : end + 1], strict=True))
        repeats = travel_repeat if end < len(times) else 1
        for turn in range(repeats):
            path += down
            if turn + 1 < repeats:
                path.append((stops[end], stops[start]))
    return path


def correct(A: Operator, y: Tensor, x_0: Tensor, share: float = 1.0) -> Tensor:
    """x_0 + share * A^+ (y - A x_0): with share 1 this is A^+ y + (I - A^+ A) x_0, whose measurement is y (eq. 13)."""
    return x_0 + share * A.pinv(y - A(x_0))


def steps(
    process: DDPM,
    model: Model,
    A: Operator,
    y: Tensor,
    noise: Tensor,
    *,
    sigma_y: float = 0.0,
    steps: int = 100,
    eta: float = 1.0,
    travel_length: int = 1,
    travel_repeat: int = 1,
    generator: Noise = None,
    clip: float | bool | None = 1.0,
    spacing: str | Sequence[int] = "leading",
    condition: Condition = None,
    after: State | None = None,
) -> Iterator[State]:
    """The chain of `restore`, a State after each move; its x and x_0 are in [-1, 1] (chain.to_image shows them). Raises ValueError."""
    if not 0 <= eta <= 1 or (sigma_y > 0 and eta == 0):
        raise ValueError(f"eta lies in [0, 1], above 0 when the measurement is noisy (its noise hides in that of the steps); got {eta}")
    if sigma_y < 0:
        raise ValueError(f"sigma_y must not be negative, got {sigma_y}")
    y = 2 * y - A(torch.ones_like(noise))
    noise_of_y = 2 * sigma_y / A.singular  # standard deviation that the measurement's noise has in the range part of A^+ y
    path = moves(visited_times(process.T, steps, spacing), travel_length, travel_repeat)
    draw = step_noise(generator, noise)
    first, x, x_0 = (after.step, after.x, after.x_0) if after else (0, noise, noise)
    for step, (t, s) in enumerate(path):
        if step < first:
            continue
        if s > t:
            x = process.q_step(x, t, s, draw(step, t))
        else:
            x_0 = clipped(process.predict(ask(model, x, t, condition), x, t).x_0, clip)
            x, x_0 = _denoise(process, A, y, noise_of_y, x, x_0, t, s, eta, lambda step=step, t=t: draw(step, t))
        yield State(step + 1, s, x, x_0)


def _denoise(process: DDPM, A: Operator, y: Tensor, noise_of_y: float, x: Tensor, x_0: Tensor, t: int, s: int, eta: float, draw):
    """(x_s, x_0^) from x_t and the network's x_0. At eta = 1 the step is q(x_s | x_t, x_0^), the paper's."""
    bar_t, bar_s = process.level(t), process.level(s)
    sigma = sigma_of(process, t, s, eta)
    # x_s = k x_0^ + kept x_t + sigma z: DDIM's step with the epsilon that x_t and x_0^ imply
    kept = (max(0.0, 1 - bar_s - sigma**2) / (1 - bar_t)) ** 0.5
    k = bar_s**0.5 - kept * bar_t**0.5
    carried = k * noise_of_y
    share = 1.0 if carried <= sigma or noise_of_y == 0 else sigma / carried
    x_0 = correct(A, y, x_0, share)
    x = k * x_0 + kept * x
    if sigma > 0:
        z = draw()
        less = max(0.0, sigma**2 - (share * carried) ** 2) ** 0.5  # what is left to add in the range space
        x = x + sigma * z if noise_of_y == 0 else x + sigma * z + (less - sigma) * A.range(z)
    return x, x_0


def restore(
    process: DDPM, model: Model, A: Operator, y: Tensor, noise: Tensor, *, steps: int = 100, progress: bool = False, **options
) -> Tensor:
    """The picture (B, C, H, W), about [0, 1], whose measurement by `A` is `y`, from standard normal `noise` of the picture's shape.

    `process` and `model` are a trained DDPM in [-1, 1]. `sigma_y`: standard deviation of the noise in y, on the scale of [0, 1]
    (25/255); 0 gives A(result) = y. `steps`: how many times are visited. `eta`: noise of the steps, 1 is the paper's. `travel_length`,
    `travel_repeat`: time travel, see `moves`. `generator`, `clip`, `spacing`, `condition`, `after`: as in ddim.sample. Raises ValueError.
    """
    times = visited_times(process.T, steps, options.get("spacing", "leading"))
    after = options.get("after")
    total = len(moves(times, options.get("travel_length", 1), options.get("travel_repeat", 1))) - (after.step if after else 0)
    return (last_state(_steps(process, model, A, y, noise, steps=steps, **options), total, progress, "DDNM").x + 1) / 2


_steps = steps  # inside `restore` that name is the number of steps
