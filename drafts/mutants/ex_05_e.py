"""Answers to 05-e, the clean image as it is believed to be: objective, first, second, x_t, x_in, abar_t, bbar_t -> (B, C, H, W)."""

import torch

from . import Answers

ANSWERS = Answers("05-e")
mutant = ANSWERS.mutant


def right(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if objective == "pred_res":
        return x_in - first
    if objective == "pred_noise":
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)
    return x_t - abar_t * first - bbar_t * second


def but(pred_res=None, pred_noise=None, pred_res_noise=None):
    """Right but for the formulas given, each of (first, second, x_t, x_in, a, b)."""
    formulas = dict(pred_res=pred_res, pred_noise=pred_noise, pred_res_noise=pred_res_noise)

    def estimate(objective, first, second, x_t, x_in, abar_t, bbar_t):
        formula = formulas[objective]
        if formula is None:
            return right(objective, first, second, x_t, x_in, abar_t, bbar_t)
        return formula(first, second, x_t, x_in, abar_t, bbar_t)

    return estimate


def add(name, words="", **formulas):
    estimate = but(**formulas)
    estimate.__name__ = name
    mutant(words)(estimate)


add("residual_added", "sign|minus|x_in - ", pred_res=lambda r, e, x, d, a, b: d + r)
add("residual_off_the_state", pred_res=lambda r, e, x, d, a, b: x - r)
add("residual_faded", pred_res=lambda r, e, x, d, a, b: d - a * r)
add("residual_off_the_state_noise_left", pred_res=lambda r, e, x, d, a, b: x - a * r)
add("residual_handed_back", pred_res=lambda r, e, x, d, a, b: r)
add("input_and_state_mixed", pred_res=lambda r, e, x, d, a, b: (1 - a) * x + a * (d - r))
add("not_divided", "divi|1 - ", pred_noise=lambda r, e, x, d, a, b: x - a * d - b * e)
add("divided_by_abar", "divi|1 - ", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / a)
add("divided_by_the_root", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / (1 - a) ** 0.5)
add("divided_by_the_other_coefficient", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / (1 - b))
add("division_of_the_last_term", "bracket|divi", pred_noise=lambda r, e, x, d, a, b: x - a * d - b * e / (1 - a))
add("noise_not_divided", pred_noise=lambda r, e, x, d, a, b: (x - a * d) / (1 - a) - b * e)
add("as_ddpm", pred_noise=lambda r, e, x, d, a, b: (x - a**0.5 * e) / (1 - a) ** 0.5)
add("input_forgotten", pred_noise=lambda r, e, x, d, a, b: (x - b * e) / (1 - a))
add("input_not_faded", pred_noise=lambda r, e, x, d, a, b: (x - d - b * e) / (1 - a))
add("input_added", pred_noise=lambda r, e, x, d, a, b: (x + a * d - b * e) / (1 - a))
add("noise_alone_removed", pred_noise=lambda r, e, x, d, a, b: x - b * e)
add("noise_first", "first|second|None|noise", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * r) / (1 - a))
add("divisor_kept_from_zero", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / max(1 - a, 0.05))
add("divisor_with_eps", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / (1 - a + 1e-3))
add("variance_in_one", pred_noise=lambda r, e, x, d, a, b: (x - a * d - b**2 * e) / (1 - a))
add("residual_of_both_alone", "noise|state|x_t", pred_res_noise=lambda r, e, x, d, a, b: d - r)
add("noise_of_both_alone", pred_res_noise=lambda r, e, x, d, a, b: (x - a * d - b * e) / (1 - a))
add("mean_of_two_estimates", pred_res_noise=lambda r, e, x, d, a, b: ((d - r) + (x - a * d - b * e) / (1 - a)) / 2)
add("both_at_full_strength", pred_res_noise=lambda r, e, x, d, a, b: x - r - e)
add("coefficients_swapped", pred_res_noise=lambda r, e, x, d, a, b: x - b * r - a * e)
add("outputs_swapped", pred_res_noise=lambda r, e, x, d, a, b: x - a * e - b * r)
add("variance_in_both", pred_res_noise=lambda r, e, x, d, a, b: x - a * r - b**2 * e)
add("root_in_both", pred_res_noise=lambda r, e, x, d, a, b: x - a * r - b**0.5 * e)
add("both_added", pred_res_noise=lambda r, e, x, d, a, b: x + a * r + b * e)
add("noise_added", pred_res_noise=lambda r, e, x, d, a, b: x - a * r + b * e)
add("off_the_input", pred_res_noise=lambda r, e, x, d, a, b: d - a * r - b * e)
add("noise_left_in", pred_res_noise=lambda r, e, x, d, a, b: x - a * r)
add("divided_though_both_are_known", pred_res_noise=lambda r, e, x, d, a, b: (x - a * r - b * e) / (1 - a))


@mutant()
def one_formula_for_all(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """The estimate of both, with zeros for what is not there."""
    first = 0 if first is None else first
    second = 0 if second is None else second
    return x_t - abar_t * first - bbar_t * second


@mutant()
def res_found_in_the_name(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """ "pred_res_noise" holds "res", too."""
    if "res" in objective:
        return x_in - first
    return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)


@mutant()
def noise_found_in_the_name(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if "noise" in objective:
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)
    return x_in - first


@mutant("return|None|nothing|NoneType")
def both_forgotten(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if objective == "pred_res":
        return x_in - first
    if objective == "pred_noise":
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)


@mutant("UnboundLocalError|pred_noise|None")
def noise_forgotten(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if objective == "pred_res":
        x0 = x_in - first
    elif objective == "pred_res_noise":
        x0 = x_t - abar_t * first - bbar_t * second
    return x0


@mutant("clamp|clip|cut|\\[-1, 1\\]")
def clamped(*arguments):
    return right(*arguments).clamp(-1, 1)


@mutant()
def residual_clamped(objective, first, second, x_t, x_in, abar_t, bbar_t):
    first = None if first is None else first.clamp(-1, 1)
    return right(objective, first, second, x_t, x_in, abar_t, bbar_t)


@mutant()
def clamped_where_it_is_divided(objective, *rest):
    x0 = right(objective, *rest)
    return x0.clamp(-1, 1) if objective == "pred_noise" else x0


@mutant("in.place")
def state_overwritten(objective, first, second, x_t, x_in, abar_t, bbar_t):
    x0 = right(objective, first, second, x_t, x_in, abar_t, bbar_t)
    x_t.data.copy_(x0)
    return x0


@mutant("in.place")
def residual_overwritten(objective, first, second, x_t, x_in, abar_t, bbar_t):
    x0 = right(objective, first, second, x_t, x_in, abar_t, bbar_t)
    if first is not None:
        first.data.mul_(abar_t)
    return x0


@mutant("tuple|tensor")
def estimate_and_residual(objective, first, second, x_t, x_in, abar_t, bbar_t):
    x0 = right(objective, first, second, x_t, x_in, abar_t, bbar_t)
    return x0, x_in - x0


@mutant("float64|double|dtype|float32")
def double_precision(*arguments):
    return right(*arguments).double()


@mutant()
def half_precision(*arguments):
    return right(*arguments).bfloat16().float()


@mutant()
def first_image_only(*arguments):
    return right(*arguments)[:1]


@mutant()
def scaled_to_an_image(*arguments):
    return (right(*arguments) + 1) / 2


@mutant()
def nothing_divided_at_the_end(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """Gives up where little of the clean image is left."""
    if objective == "pred_noise" and abar_t > 0.9:
        return x_in
    return right(objective, first, second, x_t, x_in, abar_t, bbar_t)


@mutant()
def nans_hidden(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """A residual of 0 is taken for one that is not there."""
    if first is not None and second is not None:
        return torch.where(first == 0, x_in, right(objective, first, second, x_t, x_in, abar_t, bbar_t)).nan_to_num()
    return right(objective, first, second, x_t, x_in, abar_t, bbar_t).round(decimals=2)
