"""Exercises 05-e and 05-f, RDDM's way back: inputs, references, points, and the mistakes that the checks recognise."""

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_05_calls import call_plain
from course_lib.workbook.lessons.lesson_05_process import images, seeded

# ---- 05-e: what a prediction says of the clean image -----------------------------------------------------------------


def clean_estimate(
    objective: str, first: Tensor | None, second: Tensor | None, x_t: Tensor, x_in: Tensor, abar_t: float, bbar_t: float
) -> Tensor:
    """(B, C, H, W) -> same: the x0 that the predicted residual (`first`), the noise (`second`) or both leave no choice but."""
    if objective == "pred_res":
        return x_in - first
    if objective == "pred_noise":
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)
    return x_t - abar_t * first - bbar_t * second


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 55)
    cases = {}
    for objective in ("pred_res", "pred_noise", "pred_res_noise"):
        shape = ((2, 3, 4, 5), (1, 3, 6, 4), (3, 1, 3, 3))[seed % 3]
        x_t, x_in, second = images(g, *shape)
        first = 1.5 * (2 * torch.rand(*shape, generator=g) - 1)
        # values of their own, none of them 1 - the other or its square: other formulas must not agree by chance
        abar, bbar = (0.15 + 0.5 * torch.rand((), generator=g).item(), 0.2 + 0.5 * torch.rand((), generator=g).item())
        if objective == "pred_noise" and seed % 3 == 1:
            abar = 0.97  # little of the clean image is left, and the formula still holds
        cases[objective] = {
            "objective": objective,
            "first": None if objective == "pred_noise" else first,
            "second": None if objective == "pred_res" else second,
            "x_t": x_t + torch.randn(*shape, generator=g) * bbar,
            "x_in": x_in,
            "abar_t": abar,
            "bbar_t": bbar,
        }
    return cases


def _estimate_with(res=None, noise=None, both=None, finish=lambda x: x):
    """clean_estimate with the formula of one objective replaced; they take (first or second or both, x_t, x_in, abar, bbar)."""

    def piece(objective, first, second, x_t, x_in, abar, bbar):
        if objective == "pred_res":
            return finish(res(first, x_t, x_in, abar, bbar) if res else x_in - first)
        if objective == "pred_noise":
            return finish(noise(second, x_t, x_in, abar, bbar) if noise else (x_t - abar * x_in - bbar * second) / (1 - abar))
        return finish(both(first, second, x_t, x_in, abar, bbar) if both else x_t - abar * first - bbar * second)

    return piece


EXERCISE_E = Exercise(
    "05-e", "Three predictions, one clean image", ("clean_estimate",), {"pred_res": 0.5, "pred_noise": 1, "pred_res_noise": 0.5},
    _inputs_e, call_plain, clean_estimate,
    (
        Mistake("res: added", _estimate_with(res=lambda r, x, i, a, b: i + r),
                "pred_res: the residual is x_in - x0, so x0 = x_in *minus* it."),
        Mistake("res: reversed", _estimate_with(res=lambda r, x, i, a, b: r - i), "pred_res: the sign is reversed, x0 = x_in - residual."),
        Mistake("res: from the state", _estimate_with(res=lambda r, x, i, a, b: x - r),
                "pred_res: the residual was taken from x_t. It is the whole way from x_in to x0: x_in - residual."),
        Mistake("res: a share from the state", _estimate_with(res=lambda r, x, i, a, b: x - a * r),
                "pred_res: x_t - abar residual still holds the noise. The residual alone says x0 = x_in - residual."),
        Mistake("res: a share", _estimate_with(res=lambda r, x, i, a, b: i - a * r),
                "pred_res: the whole residual lies between x_in and x0, not the share abar."),
        Mistake("res: the prediction", _estimate_with(res=lambda r, x, i, a, b: r),
                "pred_res: that is the residual itself: x_in - residual."),
        Mistake("noise: not divided", _estimate_with(noise=lambda n, x, i, a, b: x - a * i - b * n),
                "pred_noise: what is left is (1 - abar) x0: divide by 1 - abar."),
        Mistake("noise: multiplied", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i - b * n) * (1 - a)),
                "pred_noise: what is left is (1 - abar) x0: divide by 1 - abar, do not multiply."),
        Mistake("noise: divided by abar", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i - b * n) / a),
                "pred_noise: what is left is (1 - abar) x0: divide by 1 - abar, not by abar."),
        Mistake("noise: only the noise out", _estimate_with(noise=lambda n, x, i, a, b: x - b * n),
                "pred_noise: the residual's share abar is still in it. With residual = x_in - x0, solve for x0."),
        Mistake("noise: input left in", _estimate_with(noise=lambda n, x, i, a, b: (x - b * n) / (1 - a)),
                "pred_noise: abar x_in is still in it: subtract it before you divide by 1 - abar."),
        Mistake("noise: input whole", _estimate_with(noise=lambda n, x, i, a, b: (x - i - b * n) / (1 - a)),
                "pred_noise: the state holds abar x_in, not the whole of x_in."),
        Mistake("noise: input added", _estimate_with(noise=lambda n, x, i, a, b: (x + a * i - b * n) / (1 - a)),
                "pred_noise: abar x_in is subtracted, not added."),
        Mistake("noise: noise added", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i + b * n) / (1 - a)),
                "pred_noise: bbar times the noise is subtracted, not added."),
        Mistake("noise: noise not scaled", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i - n) / (1 - a)),
                "pred_noise: the noise is not scaled: bbar times it."),
        Mistake("noise: noise ignored", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i) / (1 - a)),
                "pred_noise: the noise has no effect: subtract bbar times it."),
        Mistake("noise: only part divided", _estimate_with(noise=lambda n, x, i, a, b: x - a * i - b * n / (1 - a)),
                "pred_noise: only the last term is divided by 1 - abar. All of the numerator is: mind the brackets."),
        Mistake("noise: DDPM", _estimate_with(noise=lambda n, x, i, a, b: (x - (1 - a) ** 0.5 * n) / a**0.5),
                "pred_noise: that is DDPM's formula. Start from x_t = x0 + abar (x_in - x0) + bbar eps and solve for x0."),
        Mistake("noise: bbar squared", _estimate_with(noise=lambda n, x, i, a, b: (x - a * i - b * b * n) / (1 - a)),
                "pred_noise: bbar is squared; the noise in the state is bbar times eps."),
        Mistake("noise: from the input", _estimate_with(noise=lambda n, x, i, a, b: i - n),
                "pred_noise: the noise is no residual. Start from x_t = x0 + abar (x_in - x0) + bbar eps and solve for x0."),
        Mistake("both: not scaled", _estimate_with(both=lambda r, n, x, i, a, b: x - r - n),
                "pred_res_noise: neither is scaled: x_t holds abar of the residual and bbar of the noise."),
        Mistake("both: residual whole", _estimate_with(both=lambda r, n, x, i, a, b: x - r - b * n),
                "pred_res_noise: the whole residual was taken away; x_t holds the share abar of it."),
        Mistake("both: noise whole", _estimate_with(both=lambda r, n, x, i, a, b: x - a * r - n),
                "pred_res_noise: the noise is not scaled: bbar times it."),
        Mistake("both: residual left in", _estimate_with(both=lambda r, n, x, i, a, b: x - b * n),
                "pred_res_noise: the residual is still in it: subtract abar times it."),
        Mistake("both: noise left in", _estimate_with(both=lambda r, n, x, i, a, b: x - a * r),
                "pred_res_noise: the noise is still in it: subtract bbar times it."),
        Mistake("both: from the input", _estimate_with(both=lambda r, n, x, i, a, b: i - r),
                "pred_res_noise: x_in - residual needs no noise and is pred_res. Here both predictions clean x_t."),
        Mistake("both: from the input with noise", _estimate_with(both=lambda r, n, x, i, a, b: i - a * r - b * n),
                "pred_res_noise: it starts from x_in; the predictions say what is in x_t."),
        Mistake("both: added", _estimate_with(both=lambda r, n, x, i, a, b: x + a * r + b * n),
                "pred_res_noise: residual and noise are taken out, not put in."),
        Mistake("both: noise added", _estimate_with(both=lambda r, n, x, i, a, b: x - a * r + b * n),
                "pred_res_noise: bbar times the noise is subtracted, not added."),
        Mistake("both: coefficients swapped", _estimate_with(both=lambda r, n, x, i, a, b: x - b * r - a * n),
                "pred_res_noise: abar and bbar are swapped: abar belongs to the residual, bbar to the noise."),
        Mistake("both: divided", _estimate_with(both=lambda r, n, x, i, a, b: (x - a * r - b * n) / (1 - a)),
                "pred_res_noise: nothing is left to divide by: x_t without its residual and its noise is x0."),
        Mistake("both: bbar squared", _estimate_with(both=lambda r, n, x, i, a, b: x - a * r - b * b * n),
                "pred_res_noise: bbar is squared; the noise in the state is bbar times eps."),
        Mistake("clamped", _estimate_with(finish=lambda x: x.clamp(-1, 1)),
                "The estimate was cut to [-1, 1]. That is the sampler's business: return it as it is."),
        Mistake("to images", _estimate_with(finish=lambda x: (x + 1) / 2),
                "The estimate was moved to [0, 1]. Inside the process all lies in [-1, 1]."),
    ),
    keep_dtype=True,
)  # fmt: skip

# ---- 05-f: one step back ---------------------------------------------------------------------------------------------


def rddm_step(x_t: Tensor, residual: Tensor, noise: Tensor, abar_t: float, abar_s: float, bbar_t: float, bbar_s: float) -> Tensor:
    """(B, C, H, W) three times and the coefficients at t and at an earlier s -> x_s, without fresh noise."""
    return x_t - (abar_t - abar_s) * residual - (bbar_t - bbar_s) * noise


def _inputs_f(seed: int) -> dict:
    g = seeded(seed, 56)
    cases = {}
    for name in ("from t to s", "from t to the clean image"):
        shape = ((2, 3, 4, 5), (1, 3, 5, 3), (3, 1, 4, 4))[seed % 3]
        x_t, residual, noise = images(g, *shape)
        abar_s, more, bbar_s, further = (0.1 + 0.35 * torch.rand(4, generator=g, dtype=torch.float64)).tolist()
        if seed % 3 == 2:  # near the clean image
            abar_s, bbar_s = 0.05 * abar_s, 0.05 * bbar_s
        abar_t, bbar_t = abar_s + more, bbar_s + further
        if name == "from t to the clean image":
            abar_s = bbar_s = 0.0
        cases[name] = {"x_t": x_t + 0.5 * noise, "residual": 1.5 * residual, "noise": noise}
        cases[name] |= {"abar_t": abar_t, "abar_s": abar_s, "bbar_t": bbar_t, "bbar_s": bbar_s}
    return cases


def _step_with(formula):
    """`formula(x, residual, noise, a, b, abar_t, abar_s, bbar_t, bbar_s)` with the differences a and b."""
    return lambda x, r, n, at, as_, bt, bs: formula(x, r, n, at - as_, bt - bs, at, as_, bt, bs)


_TO_X0 = (
    "You go all the way to the estimate of x0. The step ends at s: it takes out the *differences*, abar_t - abar_s and bbar_t - bbar_s."
)

EXERCISE_F = Exercise(
    "05-f", "One step back", ("rddm_step",), {"from t to s": 1, "from t to the clean image": 1}, _inputs_f, call_plain, rddm_step,
    (
        Mistake("to x0", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - at * r - bt * n), _TO_X0),
        Mistake("residual whole", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - r - b * n),
                "The whole residual was taken out: only abar_t - abar_s of it goes in this step."),
        Mistake("noise whole", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r - n),
                "The whole noise was taken out: only bbar_t - bbar_s of it goes in this step."),
        Mistake("residual of t", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - at * r - b * n),
                "The residual is gone altogether: at s, abar_s of it is still there. Take out abar_t - abar_s."),
        Mistake("noise of t", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r - bt * n),
                "The noise is gone altogether: at s, bbar_s of it is still there. Take out bbar_t - bbar_s."),
        Mistake("residual of s", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - as_ * r - bs * n),
                "The coefficients of s were taken out, but they are what stays: take out the differences."),
        Mistake("no noise term", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r),
                "The noise stays in the state: that is DiffUIR's step. RDDM takes (bbar_t - bbar_s) noise out as well."),
        Mistake("no residual term", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - b * n),
                "The residual stays in the state: take out (abar_t - abar_s) of it."),
        Mistake("forward", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x + a * r + b * n),
                "The signs are those of the way forward: on the way back residual and noise are taken out."),
        Mistake("residual added", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x + a * r - b * n),
                "The residual is added; on the way back it is taken out. Mind the sign of abar_t - abar_s."),
        Mistake("noise added", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r + b * n),
                "The noise is added; on the way back it is taken out. Mind the sign of bbar_t - bbar_s."),
        Mistake("variances", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r - (bt**2 - bs**2) ** 0.5 * n),
                "You take the root of the difference of the variances. That is for *fresh* noise; here the same noise shrinks from "
                "bbar_t to bbar_s: the plain difference."),
        Mistake("squares", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r - (bt**2 - bs**2) * n),
                "The bbars are squared: they are standard deviations, and the noise goes from bbar_t to bbar_s."),
        Mistake("roots", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r - (bt**0.5 - bs**0.5) * n),
                "The roots of the bbars were taken; they are standard deviations already."),
        Mistake("coefficients swapped", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - b * r - a * n),
                "The coefficients are swapped: abar belongs to the residual, bbar to the noise."),
        Mistake("abar for both", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * (r + n)),
                "The noise has the residual's coefficient; it has its own, bbar_t - bbar_s."),
        Mistake("state scaled", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: (1 - a) * x - a * r - b * n),
                "The state was scaled. Here nothing fades: x_t stays whole, and the two terms are taken out."),
        Mistake("quotient", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - (1 - as_ / at) * r - (1 - bs / bt) * n),
                "You take out shares of what is there, but residual and noise are whole ones: the differences of the coefficients."),
        Mistake("clamped", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: (x - a * r - b * n).clamp(-1, 1)),
                "The state was cut to [-1, 1]. With its noise it may leave this range: no clamping here."),
        Mistake("residual clamped", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: x - a * r.clamp(-1, 1) - b * n),
                "The residual was cut to [-1, 1]; the step takes it as it comes."),
        Mistake("state forgotten", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: -a * r - b * n),
                "x_t is missing: the step starts there."),
        Mistake("moved", _step_with(lambda x, r, n, a, b, at, as_, bt, bs: a * r + b * n),
                "That is what is taken out. Return x_t minus it."),
    ),
    keep_dtype=True,
)  # fmt: skip
