"""How fast a picture is destroyed: the betas of the linear, scaled-linear and cosine schedules, and the times that a short chain visits.

Everything is float64 on the CPU. Time is counted as the code of DDPM counts it, t = 0 ... T-1, so `alpha_bar[t]` is the papers'
alpha-bar of step t + 1, and what lies before t = 0 (written -1) is the clean picture, with alpha-bar 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def linear_betas(timesteps: int, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """Betas in a straight line, (T,) float64 (Ho et al. 2020, section 4). They are not rescaled: the defaults are meant for T = 1000."""
    return torch.linspace(start, end, timesteps, dtype=torch.float64)


def scaled_linear_betas(timesteps: int, start: float = 0.0015, end: float = 0.0195) -> Tensor:
    """Betas whose square roots make a straight line, (T,) float64 (Rombach et al. 2022; Stable Diffusion has 0.00085 to 0.012)."""
    return torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2


def cosine_betas(timesteps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Betas that make alpha-bar fall like a squared cosine, (T,) float64, none above `largest` (Nichol and Dhariwal 2021, eq. 17)."""

    def f(time: float) -> float:
        return math.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2

    betas = [min(1 - f((t + 1) / timesteps) / f(t / timesteps), largest) for t in range(timesteps)]
    return torch.tensor(betas, dtype=torch.float64)


SCHEDULES = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas}


def alpha_bar_of(betas: Tensor) -> Tensor:
    """alpha-bar_t, the product of (1 - beta) up to t: (T,) -> (T,) float64 (Ho et al., eq. 4)."""
    return torch.cumprod(1 - betas.double(), dim=0)


def make_alpha_bar(timesteps: int, schedule: str | Tensor) -> Tensor:
    """alpha-bar (T,) float64 by the name of a schedule, or the given values checked.

    Raises ValueError for an unknown name, a wrong length, or values that do not fall within (0, 1).
    """
    if timesteps < 1:
        raise ValueError(f"a chain needs at least one step, got timesteps={timesteps}")
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {schedule!r}; there are {', '.join(SCHEDULES)}, or give the alpha-bars, ({timesteps},)")
        return alpha_bar_of(SCHEDULES[schedule](timesteps))
    alpha_bar = torch.as_tensor(schedule).detach().double().cpu()
    if alpha_bar.shape != (timesteps,):
        raise ValueError(f"{timesteps} steps need alpha-bars of shape ({timesteps},), got {tuple(alpha_bar.shape)}")
    if not (0 < alpha_bar[-1] and alpha_bar[0] < 1 and (alpha_bar.diff() <= 0).all()):
        raise ValueError("alpha-bars must fall from below 1 to above 0 (betas are turned into them by schedules.alpha_bar_of)")
    return alpha_bar


def visited_times(timesteps: int, steps: int | None = None, spacing: str | Sequence[int] = "leading") -> list[int]:
    """The times that a chain of `steps` visits, falling, each in 0 ... T-1; None visits them all.

    `spacing`: "leading" is every (T // steps)-th from 0 up (DDIM's "uniform"; it ends at 0 and begins below T-1), "trailing" counts
    down from T-1 (better for few steps, Lin et al. 2024), "quadratic" lies closer near 0 (DDIM's "quad"; times that coincide are
    visited once), or the falling times themselves, whatever `steps` says. Raises ValueError.
    """
    if not isinstance(spacing, str):
        times = [int(t) for t in spacing]
    else:
        steps = timesteps if steps is None else steps
        if not 1 <= steps <= timesteps:
            raise ValueError(f"a chain of {timesteps} times can be walked in 1 to {timesteps} steps, not {steps}")
        if spacing == "leading":
            times = [i * (timesteps // steps) for i in range(steps)][::-1]
        elif spacing == "trailing":
            times = [round(timesteps - i * timesteps / steps) - 1 for i in range(steps)]
        elif spacing == "quadratic":
            root = math.sqrt(0.8 * timesteps)
            times = sorted({int((root * i / max(1, steps - 1)) ** 2) for i in range(steps)}, reverse=True)
        else:
            raise ValueError(f"spacing is leading, trailing, quadratic or a list of times, not {spacing!r}")
    if not times or any(not 0 <= t < timesteps for t in times) or any(a <= b for a, b in zip(times, times[1:], strict=False)):
        raise ValueError(f"times must fall and lie in 0 ... {timesteps - 1}, got {times}")
    return times
