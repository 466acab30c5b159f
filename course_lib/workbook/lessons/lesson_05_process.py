"""Exercises 05-a and 05-b, RDDM's way from clean to degraded: inputs, references, points, and the mistakes that the checks recognise."""

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_05_calls import call_plain, call_table


def seeded(seed: int, salt: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * salt + seed)


def rising(g: torch.Generator, steps: int, end: float) -> Tensor:
    """A table (T,) that rises from above 0 to `end`, in no line: no other formula meets it by chance."""
    table = (0.2 + torch.rand(steps, generator=g, dtype=torch.float64)).cumsum(0)
    return end * table / table[-1]


# ---- 05-a: two schedules ---------------------------------------------------------------------------------------------


def residual_schedules(timesteps: int, sum_scale: float) -> tuple[Tensor, Tensor]:
    """T and the variance at the end -> abar, bbar, each (T,) float64: alphas fall on a line, betas^2 rise on one."""
    line = torch.arange(1, timesteps + 1, dtype=torch.float64)
    line = line / line.sum()
    return line.flip(0).cumsum(0), (sum_scale * line.cumsum(0)).sqrt()


def _inputs_a(seed: int) -> dict:
    timesteps, sum_scale = ((1000, 1.0), (7, 0.01), (12, 0.36))[seed] if seed < 3 else (5 + seed % 50, 0.25)
    given = {"timesteps": timesteps, "sum_scale": sum_scale}
    return {"abar": given | {"part": 0}, "bbar": given | {"part": 1}}


def _tables(
    falling=lambda n: n.flip(0),
    rises=lambda n: n,
    share=lambda n: n / n.sum(),
    count=lambda T: torch.arange(1, T + 1, dtype=torch.float64),
    add=lambda a: a.cumsum(0),
    finish=lambda b2, s: (s * b2).sqrt(),
    join=lambda a, b: (a, b),
):
    """residual_schedules with one step replaced."""

    def piece(timesteps, sum_scale):
        n = count(timesteps)
        return join(add(share(falling(n))), finish(add(share(rises(n))), sum_scale))

    return piece


def _sum_of_roots(timesteps, sum_scale):
    n = torch.arange(1, timesteps + 1, dtype=torch.float64)
    return residual_schedules(timesteps, sum_scale)[0], (sum_scale * n / n.sum()).sqrt().cumsum(0)


EXERCISE_A = Exercise(
    "05-a", "Two schedules", ("residual_schedules",), {"abar": 1, "bbar": 1}, _inputs_a, call_table, residual_schedules,
    (
        Mistake("alphas rise", _tables(falling=lambda n: n),
                "The alphas rise. RDDM's fall: most of the residual comes in the first steps, T, T-1, ..., 1 over their sum."),
        Mistake("betas fall", _tables(rises=lambda n: n.flip(0)), "The betas^2 fall. RDDM's rise: 1, 2, ..., T over their sum."),
        Mistake("all alike", _tables(falling=torch.ones_like, rises=torch.ones_like),
                "All steps have the same share, which adds up to a line. The alphas fall, T, ..., 1, the betas^2 rise, 1, ..., T."),
        Mistake("no root", _tables(finish=lambda b2, s: s * b2),
                "bbar is a variance still: the root of the summed betas^2 is missing. It is the standard deviation of the noise."),
        Mistake("sum of roots", _sum_of_roots,
                "You add up the betas. Variances add up, standard deviations do not: sum the betas^2 first, then take the root."),
        Mistake("fourth root", _tables(finish=lambda b2, s: (s * b2).sqrt().sqrt()), "The root was taken twice."),
        Mistake("squared", _tables(finish=lambda b2, s: (s * b2) ** 2), "bbar is squared; it is the root of the summed betas^2."),
        Mistake("sum_scale outside the root", _tables(finish=lambda b2, s: s * b2.sqrt()),
                "sum_scale stands outside the root. It is the total *variance*: the summed betas^2 end at sum_scale, then comes the root."),
        Mistake("sum_scale squared", _tables(finish=lambda b2, s: (s * s * b2).sqrt() * s**0.5),
                "sum_scale counts too often: the summed betas^2 end at sum_scale."),
        Mistake("sum_scale ignored", _tables(finish=lambda b2, s: b2.sqrt()), "sum_scale has no effect: the summed betas^2 end at it."),
        Mistake("sum_scale divides", _tables(finish=lambda b2, s: (b2 / s).sqrt()), "Multiply the betas^2 by sum_scale, do not divide."),
        Mistake("not summed", _tables(add=lambda a: a), "These are the shares of the single steps. abar and bbar add them up: cumsum."),
        Mistake("summed before the step", _tables(add=lambda a: a.cumsum(0) - a),
                "Entry t lacks its own step: time 0 is *after* the first step, so abar[0] is alpha_0 and abar[T-1] is 1."),
        Mistake("from zero", _tables(count=lambda T: torch.arange(T, dtype=torch.float64)),
                "The line starts at 0, so a step does nothing: count 1, ..., T."),
        Mistake("summed from the end", _tables(add=lambda a: a.flip(0).cumsum(0).flip(0)),
                "The sums run from the end. At time t everything up to step t has been added."),
        Mistake("time reversed", _tables(add=lambda a: a.cumsum(0).flip(0)),
                "The tables run backwards: entry 0 is nearly clean, entry T-1 has all of the residual."),
        Mistake("share of the largest", _tables(share=lambda n: n / n.max()),
                "The shares do not add up to 1: divide by their sum."),
        Mistake("share of the steps", _tables(share=lambda n: n / len(n)), "The shares do not add up to 1: divide by their sum."),
        Mistake("no shares", _tables(share=lambda n: n), "The shares do not add up to 1: divide by their sum."),
        Mistake("one minus", _tables(join=lambda a, b: (1 - a, b)), "abar is the share of the residual that *has come*: it runs to 1."),
        Mistake("bbar a straight line", _tables(finish=lambda b2, s: torch.linspace(1 / len(b2), 1, len(b2), dtype=b2.dtype) * s**0.5),
                "bbar is a straight line: sum the betas^2 (1, ..., T over their sum, times sum_scale), then take the root."),
        Mistake("root of the rest", _tables(join=lambda a, b: (a, (b[-1] ** 2 * (1 - a)).sqrt())),
                "bbar was made from 1 - abar, as in DDPM. Here the two schedules have nothing to do with each other."),
        Mistake("swapped", _tables(join=lambda a, b: (b, a)), "The two are swapped: abar first, then bbar."),
        Mistake("a thousand steps", lambda timesteps, sum_scale: tuple(t[-timesteps:] for t in residual_schedules(1000, sum_scale)),
                "T is an argument; yours is fixed."),
        Mistake("in float32", _tables(count=lambda T: torch.arange(1, T + 1, dtype=torch.float32), add=lambda a: a.cumsum(0).double(),
                finish=lambda b2, s: (s * b2).sqrt()),
                "The sums were made in float32 and turned to float64 afterwards: make the first tensor with dtype=torch.float64."),
    ),
    tolerance=1e-11,
    allowed_imports=("torch", "einops", "math", "numpy"),
)  # fmt: skip

# ---- 05-b: any time in one go ----------------------------------------------------------------------------------------


def residual_forward(x0: Tensor, x_in: Tensor, t: Tensor, noise: Tensor, abar: Tensor, bbar: Tensor) -> Tensor:
    """(B, C, H, W) three times, t (B,), tables (T,) -> x_t (B, C, H, W) in the dtype of x0."""
    a, b = (table[t].to(x0.dtype).reshape(-1, 1, 1, 1) for table in (abar, bbar))
    return x0 + a * (x_in - x0) + b * noise


def images(g: torch.Generator, *shape: int, count: int = 3) -> list[Tensor]:
    """`count` batches: two of images in [-1, 1], the others of noise."""
    first = [2 * torch.rand(*shape, generator=g) - 1 for _ in range(2)]
    return first + [torch.randn(*shape, generator=g) for _ in range(count - 2)]


def _inputs_b(seed: int) -> dict:
    g = seeded(seed, 52)
    cases = {}
    # Where batch, channels and sides are one number, times along the wrong axis crash nowhere.
    for name, shape, T, dtype in (
        ("as many images as pixels a row", (3, 3, 3, 3), 10, torch.float32),
        ("tables in float64, other sizes", ((2, 1, 5, 4), (1, 3, 4, 6), (4, 2, 3, 5))[seed % 3], 6 + seed % 40, torch.float64),
    ):
        x0, x_in, noise = images(g, *shape)
        t = torch.randperm(T, generator=g)[: len(x0)]
        t[0] = (0, T - 1)[seed % 2]  # the ends of the tables, too
        abar, bbar = rising(g, T, 1.0).to(dtype), rising(g, T, 0.8).to(dtype)
        cases[name] = {"x0": x0, "x_in": x_in, "t": t, "noise": noise, "abar": abar, "bbar": bbar}
    return cases


def at(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return table[t].to(x.dtype).reshape(-1, 1, 1, 1)


def forward_with(
    residual=lambda x0, x_in: x_in - x0, formula=lambda x0, x_in, r, n, a, b: x0 + a * r + b * n, time=lambda t, T: t, look=at
):
    """residual_forward with one step replaced."""

    def piece(x0, x_in, t, noise, abar, bbar):
        t = time(t, len(abar))
        return formula(x0, x_in, residual(x0, x_in), noise, look(abar, t, x0), look(bbar, t, x0))

    return piece


def _look_before(table, t, x):
    return at(torch.cat([torch.zeros_like(table[:1]), table]), t, x)


_AXIS = "The times run along the wrong axis. abar[t] has shape (B,), and torch lines it up with the *last* axis: make it (B, 1, 1, 1)."

EXERCISE_B = Exercise(
    "05-b", "Any time in one go", ("residual_forward",),
    {"as many images as pixels a row": 1, "tables in float64, other sizes": 1}, _inputs_b, call_plain, residual_forward,
    (
        Mistake("along the width", forward_with(look=lambda table, t, x: table[t].to(x.dtype)), _AXIS),
        Mistake("along the height", forward_with(look=lambda table, t, x: table[t].to(x.dtype)[:, None]), _AXIS),
        Mistake("along the channels", forward_with(look=lambda table, t, x: table[t].to(x.dtype)[:, None, None]), _AXIS),
        Mistake("first time for all", forward_with(look=lambda table, t, x: table[t[0]].to(x.dtype)),
                "All images got the time of the first: image b has time t[b]."),
        Mistake("mean of the times", forward_with(look=lambda table, t, x: table[t].to(x.dtype).mean()),
                "All images got one mean coefficient: image b has time t[b]."),
        Mistake("a step early", forward_with(look=_look_before),
                "The coefficients are one step early: take abar[t] and bbar[t] as they stand."),
        Mistake("t - 1", forward_with(time=lambda t, T: t - 1), "The coefficients are one step early: t counts from 0, so take abar[t]."),
        Mistake("t + 1", forward_with(time=lambda t, T: (t + 1).clamp(max=T - 1)),
                "The coefficients are one step late: take abar[t], bbar[t]."),
        Mistake("time reversed", forward_with(time=lambda t, T: T - 1 - t), "The time runs backwards: entry t of the tables is time t."),
        Mistake("residual reversed", forward_with(residual=lambda x0, x_in: x0 - x_in),
                "The residual is degraded minus clean, x_in - x0. Yours leads away from the degraded image."),
        Mistake("input for residual", forward_with(residual=lambda x0, x_in: x_in),
                "abar multiplies the input. It belongs to the residual, x_in - x0, so that at abar = 1 only x_in is left."),
        Mistake("shares swapped", forward_with(formula=lambda x0, x_in, r, n, a, b: a * x0 + (1 - a) * x_in + b * n),
                "x0 and x_in have each other's share: abar is that of the degraded image, and at t = 0 it is small."),
        Mistake("from the input", forward_with(formula=lambda x0, x_in, r, n, a, b: x_in + a * r + b * n),
                "You start from x_in. The way starts from the clean x0."),
        Mistake("residual and noise alone", forward_with(formula=lambda x0, x_in, r, n, a, b: a * r + b * n), "x0 is missing: add it."),
        Mistake("coefficients swapped", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + b * r + a * n),
                "abar and bbar are swapped: abar belongs to the residual, bbar to the noise."),
        Mistake("abar for both", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * (r + n)),
                "The noise has abar, too. It has its own coefficient, bbar."),
        Mistake("DDPM", forward_with(formula=lambda x0, x_in, r, n, a, b: (1 - a).clamp(min=0).sqrt() * x0 + a.sqrt() * n),
                "That is DDPM: the clean image fades and the degraded one has no part. Here x0 keeps its weight, the residual is added."),
        Mistake("DDPM with abar kept", forward_with(formula=lambda x0, x_in, r, n, a, b: a.sqrt() * x0 + (1 - a).clamp(min=0).sqrt() * n),
                "That is DDPM: the clean image fades and the degraded one has no part. Here x0 keeps its weight, the residual is added."),
        Mistake("x0 fades", forward_with(formula=lambda x0, x_in, r, n, a, b: (1 - a) * x0 + a * r + b * n),
                "x0 fades *and* the residual holds -x0, so it goes twice. Either x0 + abar (x_in - x0) or (1 - abar) x0 + abar x_in."),
        Mistake("root of bbar", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * r + b.sqrt() * n),
                "The root of bbar was taken. bbar is a standard deviation already."),
        Mistake("bbar squared", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * r + b**2 * n),
                "bbar is squared. It is a standard deviation: multiply the noise by it once."),
        Mistake("root of abar", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a.sqrt() * r + b * n),
                "The root of abar was taken; roots belong to DDPM. Here it stands as it is."),
        Mistake("noise not scaled", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * r + n), "The noise is not scaled by bbar."),
        Mistake("no noise", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * r), "The noise is missing: add bbar times it."),
        Mistake("noise subtracted", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * r - b * n), "The noise is added."),
        Mistake("residual not scaled", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + r + b * n),
                "The whole residual was added at once: abar is the share that has come by time t."),
        Mistake("no residual", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + b * n),
                "The residual is missing: add abar times it."),
        Mistake("summed once more", forward_with(look=lambda table, t, x: at(table.cumsum(0), t, x)),
                "The tables were summed up once more; abar and bbar are sums already."),
        Mistake("noise within the residual", forward_with(formula=lambda x0, x_in, r, n, a, b: x0 + a * (r + b * n)),
                "abar multiplies the noise as well: the two terms stand beside each other."),
        Mistake("clamped", forward_with(formula=lambda x0, x_in, r, n, a, b: (x0 + a * r + b * n).clamp(-1, 1)),
                "The state was cut to [-1, 1]. With its noise it may well leave this range: no clamping here."),
    ),
    keep_dtype=True,
)  # fmt: skip
