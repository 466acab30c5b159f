"""Exercises of lesson 05, RDDM and DiffUIR. Here 05-g; the others stand in `lesson_05_{process,training,sampling,choice}.py`."""

import torch
from torch import Tensor

from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_05_calls import call_sampler
from course_lib.workbook.lessons.lesson_05_choice import EXERCISE_H
from course_lib.workbook.lessons.lesson_05_process import EXERCISE_A, EXERCISE_B, rising, seeded
from course_lib.workbook.lessons.lesson_05_sampling import EXERCISE_E, EXERCISE_F
from course_lib.workbook.lessons.lesson_05_training import EXERCISE_C, EXERCISE_D

# ---- 05-g: DiffUIR's sampler -----------------------------------------------------------------------------------------


def diffuir_sample(network, degraded: Tensor, times: list[int], noise: Tensor, abar: Tensor, dbar: Tensor, start_std: float) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same, restored: from times[0] = T-1 down to times[-1] = -1."""
    x_in = 2 * degraded - 1
    x = (1 - float(dbar[-1])) * x_in + start_std * noise
    for t, s in zip(times, times[1:], strict=False):
        told = torch.full((len(x),), float(abar[t]) * len(abar), dtype=x.dtype, device=x.device)
        residual = network(torch.cat([x, x_in], dim=1), told).clamp(-1, 1)
        if s < 0:
            x = (x_in - residual).clamp(-1, 1)
        else:
            x = x - float(abar[t] - abar[s]) * residual + float(dbar[t] - dbar[s]) * x_in
    return (x + 1) / 2


def _inputs_g(seed: int) -> dict:
    g = seeded(seed, 57)
    cases = {}
    T = 40 + seed % 7
    for name, shape, times, dtype, start_std in (
        ("one step", ((2, 3, 4, 5), (1, 3, 5, 3), (3, 3, 3, 3))[seed % 3], [999, -1], torch.float64, 0.3),
        ("three steps", ((3, 3, 3, 3), (2, 3, 6, 4), (1, 3, 3, 7))[seed % 3], [999, 665, 332, -1], torch.float32, 0.1),
        ("another T and uneven steps", (2, 3, 4, 6), [T - 1, 25, 17, 4, 0, -1], torch.float32, 0.6),
    ):
        steps = times[0] + 1
        degraded, noise = torch.rand(*shape, generator=g), torch.randn(*shape, generator=g)
        soft = 0.2 if name == "three steps" else 1.0  # there no value reaches the ends of [0, 1], elsewhere many do
        degraded = 0.5 + (0.5 if soft < 1 else 1) * (degraded - 0.5)
        abar = rising(g, steps, 0.985)
        dbar = rising(g, steps, 0.8)
        cases[name] = {"degraded": degraded, "times": times, "noise": noise, "abar": abar.to(dtype), "dbar": dbar.to(dtype)}
        cases[name] |= {"start_std": start_std}
        cases[name] |= {"mix": 0.8 * soft * torch.randn(3, 6, generator=g), "time": 0.5 * soft * torch.randn(3, generator=g)}
    return cases


def _walk(
    to_range=lambda y: 2 * y - 1,
    start=lambda x_in, n, d, std: (1 - d) * x_in + std * n,
    told=lambda a, t, T: a * T,
    both=lambda x, x_in: torch.cat([x, x_in], 1),
    cut=lambda r: r.clamp(-1, 1),
    step=lambda x, r, x_in, a, d, n: x - a * r + d * x_in,
    last=lambda x, r, x_in, a, d, n: (x_in - r).clamp(-1, 1),
    back=lambda x: (x + 1) / 2,
    again=True,
    before=lambda values, s: float(values[s]),
):
    """diffuir_sample with one step replaced; a and d: the differences of abar and dbar between t and s."""

    def piece(network, degraded, times, noise, abar, dbar, start_std):
        x_in = to_range(degraded)
        x, residual = start(x_in, noise, float(dbar[-1]), start_std), None
        for t, s in zip(times, times[1:], strict=False):
            if again or residual is None:
                time = torch.full((len(x),), float(told(float(abar[t]), t, len(abar))))
                residual = cut(network(both(x, x_in), time))
            if s < 0:
                x = last(x, residual, x_in, float(abar[t]), float(dbar[t]), noise)
            else:
                x = step(x, residual, x_in, float(abar[t]) - before(abar, s), float(dbar[t]) - before(dbar, s), noise)
        return back(x)

    return piece


def _wraps_around(network, degraded, times, noise, abar, dbar, start_std):
    """The last step as the others, with index -1."""
    x_in = 2 * degraded - 1
    x = (1 - dbar[-1].to(x_in)) * x_in + start_std * noise
    for t, s in zip(times, times[1:], strict=False):
        residual = network(torch.cat([x, x_in], 1), torch.full((len(x),), float(abar[t]) * len(abar))).clamp(-1, 1)
        x = x - float(abar[t] - abar[s]) * residual + float(dbar[t] - dbar[s]) * x_in
    return (x.clamp(-1, 1) + 1) / 2


_RANGE = "Inside the process images lie in [-1, 1]: x_in = 2 degraded - 1 at the door, and (x + 1) / 2 on the way out."
_LAST = "The last step is another one: no coefficient, no state, but x_in - residual, cut to [-1, 1]."

EXERCISE_G = Exercise(
    "05-g", "DiffUIR in a few steps", ("diffuir_sample",), {"one step": 1, "three steps": 1, "another T and uneven steps": 1},
    _inputs_g, call_sampler, diffuir_sample,
    (
        Mistake("range never changed", _walk(to_range=lambda y: y, back=lambda x: x), _RANGE),
        Mistake("range kept inside", _walk(to_range=lambda y: y), _RANGE),
        Mistake("range kept outside", _walk(back=lambda x: x), _RANGE),
        Mistake("cut on the way out", _walk(back=lambda x: x.clamp(0, 1)), _RANGE),
        Mistake("start: input whole", _walk(start=lambda i, n, d, std: i + std * n),
                "The start is RDDM's. DiffUIR's input has faded by then: (1 - dbar) x_in + start_std noise."),
        Mistake("start: only dbar", _walk(start=lambda i, n, d, std: d * i + std * n),
                "The start holds dbar of the input; what is *left* of it is 1 - dbar."),
        Mistake("start: pure noise", _walk(start=lambda i, n, d, std: std * n),
                "The start is noise alone: (1 - dbar) x_in belongs to it."),
        Mistake("start: input alone", _walk(start=lambda i, n, d, std: (1 - d) * i), "The start holds no noise: add start_std times it."),
        Mistake("start: noise not scaled", _walk(start=lambda i, n, d, std: (1 - d) * i + n),
                "The noise of the start is not scaled by start_std."),
        Mistake("start: variance", _walk(start=lambda i, n, d, std: (1 - d) * i + std**2 * n),
                "start_std is squared: it is a standard deviation, multiply the noise by it once."),
        Mistake("start: root", _walk(start=lambda i, n, d, std: (1 - d) * i + std**0.5 * n),
                "The root of start_std was taken: it is a standard deviation already."),
        Mistake("time: the step", _walk(told=lambda a, t, T: t), "The network was told t. DiffUIR's is told abar[t] * T, a float."),
        Mistake("time: a share", _walk(told=lambda a, t, T: a),
                "The network was told a share between 0 and 1. It is abar[t] times T, a float."),
        Mistake("time: share of the steps", _walk(told=lambda a, t, T: t / T),
                "The network was told a share between 0 and 1. It is abar[t] times T, a float."),
        Mistake("time: whole", _walk(told=lambda a, t, T: int(a * T)), "The time was cut to a whole number: abar[t] * T stays a float."),
        Mistake("time: a thousand", _walk(told=lambda a, t, T: 1000 * a), "T is the length of the table, not always 1000: len(abar)."),
        Mistake("time: T - 1", _walk(told=lambda a, t, T: a * (T - 1)), "The time is abar[t] * T with T = len(abar), not T - 1."),
        Mistake("time: abar times t", _walk(told=lambda a, t, T: a * t), "The time is abar[t] * T, not abar[t] * t."),
        Mistake("input first", _walk(both=lambda x, i: torch.cat([i, x], 1)),
                "The degraded image came first. The order is [x, x_in]: the shipped weights count on it."),
        Mistake("input twice", _walk(both=lambda x, i: torch.cat([i, i], 1)),
                "The network never sees the state: torch.cat([x, x_in], dim=1)."),
        Mistake("state twice", _walk(both=lambda x, i: torch.cat([x, x], 1)),
                "The network never sees the input: torch.cat([x, x_in], dim=1)."),
        Mistake("input in [0, 1] for the network", _walk(both=lambda x, i: torch.cat([x, (i + 1) / 2], 1)),
                "The network got the degraded image in [0, 1]. Both halves lie in [-1, 1]."),
        Mistake("residual not cut", _walk(cut=lambda r: r), "The residual is cut to [-1, 1] before it is used; yours is not."),
        Mistake("residual halved", _walk(cut=lambda r: r.clamp(0, 1)), "The residual is cut to [-1, 1]; it may well be negative."),
        Mistake("tanh", _walk(cut=torch.tanh), "The residual is cut (clamp) to [-1, 1], not bent by tanh."),
        Mistake("step: no shared term", _walk(step=lambda x, r, i, a, d, n: x - a * r),
                "The input never comes back: the step adds (dbar_t - dbar_s) x_in. Without it you walk to a dark picture."),
        Mistake("step: input taken out", _walk(step=lambda x, r, i, a, d, n: x - a * r - d * i),
                "The input is taken out once more: on the way back (dbar_t - dbar_s) x_in is *added*."),
        Mistake("step: residual added", _walk(step=lambda x, r, i, a, d, n: x + a * r + d * i),
                "The residual is added; on the way back it is taken out."),
        Mistake("step: no residual", _walk(step=lambda x, r, i, a, d, n: x + d * i),
                "The residual is never taken out: - (abar_t - abar_s) of it."),
        Mistake("step: whole residual", _walk(step=lambda x, r, i, a, d, n: x - r + d * i),
                "A step takes out (abar_t - abar_s) of the residual, not all of it."),
        Mistake("step: to the end", _walk(before=lambda values, s: 0.0),
                "Every step goes all the way. It takes the differences: abar_t - abar_s, and dbar_t - dbar_s."),
        Mistake("step: coefficients swapped", _walk(step=lambda x, r, i, a, d, n: x - d * r + a * i),
                "The coefficients are swapped: abar belongs to the residual, dbar to x_in."),
        Mistake("step: cut", _walk(step=lambda x, r, i, a, d, n: (x - a * r + d * i).clamp(-1, 1)),
                "The state was cut on the way. Only the residual and the last image are."),
        Mistake("step: from the input", _walk(step=lambda x, r, i, a, d, n: i - r), "The step starts from the state x, not from x_in."),
        Mistake("step: noise out", _walk(step=lambda x, r, i, a, d, n: x - a * r + d * i - a * n),
                "The noise was taken out on the way. DiffUIR leaves it in the state."),
        Mistake("network asked once", _walk(again=False),
                "The network is asked once. It looks anew at every state: call it inside the loop."),
        Mistake("last: as the others", _walk(last=lambda x, r, i, a, d, n: x - a * r + d * i), _LAST),
        Mistake("last: as the others, cut", _walk(last=lambda x, r, i, a, d, n: (x - a * r + d * i).clamp(-1, 1)), _LAST),
        Mistake("last: from the state", _walk(last=lambda x, r, i, a, d, n: (x - r).clamp(-1, 1)), _LAST),
        Mistake("last: residual added", _walk(last=lambda x, r, i, a, d, n: (i + r).clamp(-1, 1)),
                "At the end the residual is added: clean is x_in *minus* the residual."),
        Mistake("last: not cut", _walk(last=lambda x, r, i, a, d, n: i - r), "The last image is not cut to [-1, 1], so it leaves [0, 1]."),
        Mistake("last: index -1", _wraps_around,
                "abar[-1] is the *last* entry of the table, that of T-1. The last step needs no coefficient: x_in - residual, cut."),
        Mistake("last: not taken", _walk(last=lambda x, r, i, a, d, n: x),
                "The last step, to -1, was not taken: it gives x_in - residual, cut to [-1, 1]."),
    ),
    keep_dtype=True,
)  # fmt: skip

EXERCISES = (EXERCISE_A, EXERCISE_B, EXERCISE_C, EXERCISE_D, EXERCISE_E, EXERCISE_F, EXERCISE_G, EXERCISE_H)
