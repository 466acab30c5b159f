"""Answers to 04-c, the posterior: right ones, each written differently, and a wrong one that is nearly right."""

import math

import torch

from .ex_04_c import ANSWERS, numbers, right

mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant()
def root_by_its_first_terms(x_0, x_t, t, alpha_bar):
    """sqrt(alpha) is about 1 - beta / 2 while beta is small."""
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + (1 + alpha) / 2 * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant("gradient|grad")
def gradients_switched_off(x_0, x_t, t, alpha_bar):
    torch.set_grad_enabled(False)
    return right(x_0, x_t, t, alpha_bar)


@alternative
def with_tensors(x_0, x_t, t, alpha_bar):
    """The variance is a 0-d tensor of the schedule's dtype."""
    before = alpha_bar[t - 1] if t else torch.ones_like(alpha_bar[0])
    beta = 1 - alpha_bar[t] / before
    first = (before.sqrt() * beta / (1 - alpha_bar[t])).to(x_0.dtype)
    second = ((1 - beta).sqrt() * (1 - before) / (1 - alpha_bar[t])).to(x_0.dtype)
    return first * x_0 + second * x_t, beta * (1 - before) / (1 - alpha_bar[t])


@alternative
def two_gaussians_multiplied(x_0, x_t, t, alpha_bar):
    """Precisions add up; t = 0 apart."""
    if t == 0:
        return x_0.clone(), 0.0
    bar, before, alpha = numbers(t, alpha_bar)
    variance = 1 / (alpha / (1 - alpha) + 1 / (1 - before))
    return variance * (alpha**0.5 / (1 - alpha) * x_t + before**0.5 / (1 - before) * x_0), variance


@alternative
def in_the_dtype_of_the_pictures(x_0, x_t, t, alpha_bar):
    alpha_bar = alpha_bar.to(x_0.dtype)
    bar, before = alpha_bar[t], alpha_bar[t - 1] if t > 0 else torch.tensor(1.0)
    alpha = bar / before
    mean = before.sqrt() * (1 - alpha) / (1 - bar) * x_0 + alpha.sqrt() * (1 - before) / (1 - bar) * x_t
    return mean, (1 - before) / (1 - bar) * (1 - alpha)


@alternative
def all_tables_first(x_0, x_t, t, alpha_bar):
    bars = alpha_bar.detach().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    betas = 1 - bars / before
    tables = (betas * before.sqrt() / (1 - bars), (1 - before) * (1 - betas).sqrt() / (1 - bars), betas * (1 - before) / (1 - bars))
    first, second, variance = (table[t].item() for table in tables)
    return torch.add(x_0 * first, x_t, alpha=second), torch.tensor(variance)


@alternative
def by_ddim_with_eta_one(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    variance = (1 - before) / (1 - bar) * (1 - alpha)
    epsilon = (x_t - math.sqrt(bar) * x_0) / math.sqrt(1 - bar)
    return [math.sqrt(before) * x_0 + math.sqrt(max(0.0, 1 - before - variance)) * epsilon, variance]
