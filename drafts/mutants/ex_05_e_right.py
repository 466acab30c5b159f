"""Answers to 05-e, the clean image as it is believed to be: right ones, each written differently."""

import torch

from .ex_05_e import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_cases(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if objective == "pred_res":
        return x_in - first
    elif objective == "pred_noise":
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)
    elif objective == "pred_res_noise":
        return x_t - abar_t * first - bbar_t * second
    raise ValueError(f"unknown objective {objective}")


@alternative
def by_match(objective, residual, noise, x_t, x_in, a, b):
    match objective:
        case "pred_res":
            x0 = -residual + x_in
        case "pred_noise":
            x0 = (x_t - b * noise - a * x_in).div(1 - a)
        case _:
            x0 = x_t.sub(residual, alpha=a).sub(noise, alpha=b)
    return x0


@alternative
def by_a_dictionary(objective, first, second, x_t, x_in, abar_t, bbar_t):
    ways = {
        "pred_res": lambda: x_in - first,
        "pred_noise": lambda: x_t / (1 - abar_t) - abar_t / (1 - abar_t) * x_in - bbar_t / (1 - abar_t) * second,
        "pred_res_noise": lambda: x_t - (abar_t * first + bbar_t * second),
    }
    return ways[objective]()


@alternative
def by_what_is_there(objective, first, second, x_t, x_in, abar_t, bbar_t):
    if second is None:
        return x_in - first
    without_noise = x_t - bbar_t * second
    if first is None:
        return (without_noise - abar_t * x_in) / (1 - abar_t)
    return without_noise - abar_t * first


@alternative
def by_the_residual(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """The residual that the noise implies, then one subtraction."""
    if objective == "pred_noise":
        first = (x_in - (x_t - bbar_t * second)) / (1 - abar_t)
    return x_t - abar_t * first - bbar_t * second if objective == "pred_res_noise" else x_in - first


@alternative
def in_double_precision_inside(objective, first, second, x_t, x_in, abar_t, bbar_t):
    x, d = x_t.double(), x_in.double()
    first, second = (torch.zeros_like(x) if part is None else part.double() for part in (first, second))
    estimates = {
        "pred_res": d - first,
        "pred_noise": (x - abar_t * d - bbar_t * second) / (1.0 - abar_t),
        "pred_res_noise": x - abar_t * first - bbar_t * second,
    }
    return estimates[objective].to(x_t.dtype)
