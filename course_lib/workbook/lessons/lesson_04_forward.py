"""Exercises 04-a and 04-b, how a picture is destroyed: inputs, references, points, and the mistakes that the checks recognise."""

import math

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_04_calls import call_schedule, call_step


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


def falling(T: int, g: torch.Generator, least: float = 0.6, most: float = 0.95) -> Tensor:
    """Some alpha-bars (T,) float64 whose single steps are large, so that neighbours differ."""
    return torch.cumprod(least + (most - least) * torch.rand(T, generator=g, dtype=torch.float64), dim=0)


# ---- 04-a: noise in one step -----------------------------------------------------------------------------------------


def noise_image(x_0: Tensor, t: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    """(B, C, H, W), (B,), (B, C, H, W), (T,) -> x_t (B, C, H, W). Ho et al. 2020, eq. 4."""
    bar = alpha_bar[t][:, None, None, None]
    return bar.sqrt().to(x_0.dtype) * x_0 + (1 - bar).sqrt().to(x_0.dtype) * epsilon


def _inputs_a(seed: int) -> dict:
    g = seeded(seed, 41)
    cases = {}
    for name, (B, C, H, W), T, kind in (
        ("several times", (4, 3, 4, 6), 7 + seed, torch.float32),
        ("as many images as pixels a side", (4, 4, 4, 4), 9, torch.float32),
        ("one image, float64", (1, 2, 5, 3), 5 + seed, torch.float64),
    ):
        t = torch.randint(1, T - 1, (B,), generator=g)
        if B > 1:
            t[:3] = torch.tensor([0, T - 1, 2])
        x_0, epsilon = (torch.randn(B, C, H, W, generator=g, dtype=kind) for _ in range(2))
        cases[name] = {"x_0": x_0, "t": t, "epsilon": epsilon, "alpha_bar": falling(T, g)}
    return cases


def _column(values, x):
    return values[:, None, None, None].to(x.dtype)


def _noise_with(
    signal=lambda b: b.sqrt(), noise=lambda b: (1 - b).sqrt(), pick=lambda table, t: table[t], place=_column, finish=lambda x: x
):
    """noise_image with one step replaced."""

    def piece(x_0, t, epsilon, alpha_bar):
        bar = pick(alpha_bar, t)
        return finish(place(signal(bar), x_0) * x_0 + place(noise(bar), x_0) * epsilon)

    return piece


def _single(table, t):
    return (table / torch.cat([table.new_ones(1), table[:-1]]))[t]


def _step_before(table, t):
    return torch.cat([table.new_ones(1), table])[t]


_EARLY = "Each image has the noise of the time before: t counts from 0, so alpha_bar[t] is right as it stands."
_AXIS = "The B numbers ran along another axis of the picture. Image b has the time t[b]: give the numbers the shape (B, 1, 1, 1)."

EXERCISE_A = Exercise(
    "04-a", "Noise in one step", ("noise_image",),
    {"several times": 1, "as many images as pixels a side": 0.5, "one image, float64": 0.5}, _inputs_a, call_step, noise_image,
    (
        Mistake("no roots", _noise_with(lambda b: b, lambda b: 1 - b),
                "Both roots are missing: alpha_bar and 1 - alpha_bar are shares of the *variance*; what is multiplied are their roots."),
        Mistake("no root of the signal", _noise_with(signal=lambda b: b),
                "The picture is multiplied by alpha_bar; it must be its square root."),
        Mistake("no root of the noise", _noise_with(noise=lambda b: 1 - b),
                "The noise is multiplied by 1 - alpha_bar, its variance; it must be the square root."),
        Mistake("roots twice", _noise_with(lambda b: b**0.25, lambda b: (1 - b) ** 0.25), "The roots were taken twice."),
        Mistake("rest of the root", _noise_with(noise=lambda b: 1 - b.sqrt()),
                "1 - sqrt(alpha_bar) is not sqrt(1 - alpha_bar): the *variances* add up to 1, not the factors."),
        Mistake("rest of the square", _noise_with(lambda b: b, lambda b: (1 - b * b).sqrt()),
                "The factor of the picture is sqrt(alpha_bar); you took alpha_bar and what is left beside its square."),
        Mistake("swapped", _noise_with(lambda b: (1 - b).sqrt(), lambda b: b.sqrt()),
                "The two factors are swapped: at t = 0 nearly all is picture."),
        Mistake("single steps", _noise_with(pick=_single),
                "You used alpha_t of the single step. alpha_bar_t, the product up to t, is given already: alpha_bar[t]."),
        Mistake("product again", _noise_with(pick=lambda table, t: table.cumprod(0)[t]),
                "alpha_bar is the product already; you multiplied it up once more."),
        Mistake("a step early", _noise_with(pick=_step_before), _EARLY),
        Mistake("a step early, round the end", _noise_with(pick=lambda table, t: table[t - 1]), _EARLY),
        Mistake("a step late", _noise_with(pick=lambda table, t: table[(t + 1).clamp(max=len(table) - 1)]),
                "Each image has the noise of the time after: t counts from 0, so alpha_bar[t] is right as it stands."),
        Mistake("from the end", _noise_with(pick=lambda table, t: table.flip(0)[t]), "The schedule was read from its end: alpha_bar[t]."),
        Mistake("first image's time", _noise_with(pick=lambda table, t: table[t[:1]].expand(len(t))),
                "All images got the first one's time: image b has t[b]."),
        Mistake("mean time", _noise_with(pick=lambda table, t: table[t].mean().expand(len(t))),
                "All images got one noise level: image b has t[b]."),
        Mistake("along the width", _noise_with(place=lambda v, x: v.to(x.dtype)), _AXIS),
        Mistake("along the height", _noise_with(place=lambda v, x: v[:, None].to(x.dtype)), _AXIS),
        Mistake("along the channels", _noise_with(place=lambda v, x: v[:, None, None].to(x.dtype)), _AXIS),
        Mistake("noise subtracted", _noise_with(noise=lambda b: -((1 - b).sqrt())),
                "The noise is subtracted. It is symmetric, so pictures look the same, but a network learns the sign: add it."),
        Mistake("noise not scaled", _noise_with(noise=torch.ones_like), "The noise has no factor: sqrt(1 - alpha_bar)."),
        Mistake("signal not scaled", _noise_with(signal=torch.ones_like),
                "The picture keeps its size. It must shrink by sqrt(alpha_bar), or the variance grows with t."),
        Mistake("no noise", _noise_with(noise=torch.zeros_like), "The noise has no effect: add sqrt(1 - alpha_bar) epsilon."),
        Mistake("no signal", _noise_with(signal=torch.zeros_like), "The picture has no effect: sqrt(alpha_bar) x_0 is missing."),
        Mistake("noise scaled by both", _noise_with(noise=lambda b: (b * (1 - b)).sqrt()),
                "The noise is multiplied by both factors: sqrt(alpha_bar) belongs to the picture alone."),
        Mistake("clipped", _noise_with(finish=lambda x: x.clamp(-1, 1)),
                "The result was cut to [-1, 1]. Noise leaves that range, and must."),
        Mistake("cut to [0, 1]", _noise_with(finish=lambda x: x.clamp(0, 1)),
                "The result was cut to [0, 1]. Noise leaves that range, and must."),
        Mistake("range changed", lambda x_0, t, epsilon, alpha_bar: noise_image(2 * x_0 - 1, t, epsilon, alpha_bar),
                "x_0 lies in [-1, 1] already: do not map it there again."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 04-b: the cosine schedule ---------------------------------------------------------------------------------------


def cosine_alpha_bar(timesteps: int, offset: float = 0.008, largest_beta: float = 0.999) -> Tensor:
    """(T,) float64: alpha-bar falls like a squared cosine, no beta above `largest_beta`. Nichol and Dhariwal 2021, eq. 17."""
    time = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=largest_beta)
    return torch.cumprod(1 - betas, dim=0)


def _inputs_b(seed: int) -> dict:
    return {
        "the paper's numbers": {"timesteps": (1000, 60, 7)[seed % 3] + seed // 3},
        "another offset": {"timesteps": 40 + seed, "offset": 0.03 + 0.05 * (seed % 3)},
        "betas cut early": {"timesteps": (25, 100, 8)[seed % 3] + seed // 3, "offset": 0.008, "largest_beta": (0.3, 0.05, 0.6)[seed % 3]},
    }


def _cosine_with(
    angle=lambda time, s: (time + s) / (1 + s) * math.pi / 2,
    power=2,
    cut=lambda betas, most: betas.clamp(max=most),
    finish=lambda betas: torch.cumprod(1 - betas, 0),
    times=lambda T: torch.arange(T + 1, dtype=torch.float64) / T,
    s=0.008,
    most=0.999,
):
    """cosine_alpha_bar with one step replaced."""

    def piece(timesteps, offset=s, largest_beta=most):
        f = torch.cos(angle(times(timesteps), offset)) ** power
        return finish(cut(1 - f[1:] / f[:-1], largest_beta)).double()

    return piece


def _uncut(which):
    """f(t) / f(0) at the times `which(T)`, with no cut at all."""

    def piece(timesteps, offset=0.008, largest_beta=0.999):
        f = torch.cos((which(timesteps) + offset) / (1 + offset) * math.pi / 2) ** 2
        return f / math.cos(offset / (1 + offset) * math.pi / 2) ** 2

    return piece


def _not_divided(timesteps, offset=0.008, largest_beta=0.999):
    time = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
    return torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2


def _bars_cut(timesteps, offset=0.008, largest_beta=0.999):
    return _uncut(_late)(timesteps, offset).clamp(min=1 - largest_beta)


def _early(T):
    return torch.arange(T, dtype=torch.float64) / T


def _late(T):
    return torch.arange(1, T + 1, dtype=torch.float64) / T


_UNCUT = "No beta was cut. Make the betas, 1 - f(t+1) / f(t), let none be above largest_beta, and multiply 1 - beta up again."
_FLOAT32 = "The formula is right, but float32 was used on the way: from the first tensor on, dtype=torch.float64."
_LATE = "The first alpha_bar is 1, as if the first step added no noise: alpha_bar[0] = 1 - beta[0], at the time 1/T."

EXERCISE_B = Exercise(
    "04-b", "The cosine schedule", ("cosine_alpha_bar",), {"the paper's numbers": 1, "another offset": 0.5, "betas cut early": 0.5},
    _inputs_b,
    call_schedule, cosine_alpha_bar,
    (
        Mistake("uncut", _uncut(_late), _UNCUT),
        Mistake("uncut betas", _cosine_with(cut=lambda betas, most: betas), _UNCUT),
        Mistake("uncut, a step early", _uncut(_early), _LATE),
        Mistake("not divided", _not_divided, "f(0) is a little less than 1: divide by it. And the betas must be cut before they are used."),
        Mistake("bars cut", _bars_cut, "alpha_bar itself was cut. What is cut are the betas; alpha_bar is then built from them again."),
        Mistake("no square", _cosine_with(power=1), "The cosine is squared: alpha_bar is a share of the variance."),
        Mistake("offset not divided", _cosine_with(lambda time, s: (time + s) * math.pi / 2),
                "The time plus offset is divided by 1 + offset, so that the angle ends at pi/2."),
        Mistake("offset ignored", _cosine_with(lambda time, s: time * math.pi / 2),
                "The offset has no effect: (t/T + offset) / (1 + offset)."),
        Mistake("offset fixed", _cosine_with(lambda time, s: (time + 0.008) / 1.008 * math.pi / 2),
                "The offset is an argument; yours is always 0.008."),
        Mistake("whole turn", _cosine_with(lambda time, s: (time + s) / (1 + s) * math.pi), "The angle ends at pi/2, not at pi."),
        Mistake("cut fixed", _cosine_with(cut=lambda betas, most: betas.clamp(max=0.999)),
                "The largest beta is an argument; yours is always 0.999."),
        Mistake("betas", _cosine_with(finish=lambda betas: betas),
                "These are the betas. Return alpha_bar, the product of 1 - beta up to t."),
        Mistake("alphas", _cosine_with(finish=lambda betas: 1 - betas),
                "These are the alphas of the single steps. alpha_bar is their product up to t: torch.cumprod."),
        Mistake("product of the betas", _cosine_with(finish=lambda betas: betas.cumprod(0)), "Multiply up 1 - beta, not beta."),
        Mistake("sum", _cosine_with(finish=lambda betas: 1 - betas.cumsum(0)),
                "1 minus the sum of the betas holds for tiny ones only. alpha_bar is the product of 1 - beta."),
        Mistake("roots", _cosine_with(finish=lambda betas: (1 - betas).cumprod(0).sqrt()),
                "This is the root of alpha_bar; the root comes later, in 04-a."),
        Mistake("one more", _cosine_with(finish=lambda betas: torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])),
                "There are T + 1 values: the clean picture's alpha_bar = 1 is not one of the T."),
        Mistake("one begins", _cosine_with(finish=lambda betas: torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)[:-1]])), _LATE),
        Mistake("one fewer", _cosine_with(times=lambda T: torch.linspace(0, 1, T, dtype=torch.float64)),
                "There are T - 1 values: T betas need f at T + 1 times, 0/T to T/T."),
        Mistake("stretched", _cosine_with(times=lambda T: torch.linspace(0, 1, T + 2, dtype=torch.float64)[:-1]),
                "The times are not t/T: T + 1 of them, from 0 to 1."),
        Mistake("float32 times", _cosine_with(times=lambda T: torch.arange(T + 1) / T), _FLOAT32),
        Mistake("float32 line", _cosine_with(times=lambda T: torch.linspace(0, 1, T + 1)), _FLOAT32),
        Mistake("float32 line to T", _cosine_with(times=lambda T: torch.linspace(0, T, T + 1) / T), _FLOAT32),
        Mistake("float32 at the end", _cosine_with(finish=lambda betas: (1 - betas.float()).cumprod(0)), _FLOAT32),
        Mistake("rounded at the end", lambda *given: cosine_alpha_bar(*given).float().double(), _FLOAT32),
        Mistake("other default offset", _cosine_with(s=0.08), "Left out, the offset is 0.008."),
        Mistake("other default cut", _cosine_with(most=0.99), "Left out, the largest beta is 0.999."),
    ),
    tolerance=1e-9,
    allowed_imports=("torch", "einops", "math", "numpy"),
)  # fmt: skip
