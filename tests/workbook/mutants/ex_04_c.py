"""Answers to 04-c, the posterior: x_0, x_t, an int t, alpha_bar -> (mean, variance) of q(x_{t-1} | x_t, x_0)."""

import math

import torch

from . import Answers

ANSWERS = Answers("04-c")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def numbers(t, alpha_bar):
    """(alpha_bar_t, alpha_bar_{t-1}, alpha_t) as floats."""
    bar, before = float(alpha_bar[t]), float(alpha_bar[t - 1]) if t > 0 else 1.0
    return bar, before, bar / before


@mutant("0|first|clean|before|-1|NaN")
def last_time_before_the_first(x_0, x_t, t, alpha_bar):
    """alpha_bar[t - 1] is alpha_bar[-1] at t = 0."""
    bar, before = float(alpha_bar[t]), float(alpha_bar[t - 1])
    alpha = bar / before
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, (1 - before) / (1 - bar) * (1 - alpha)


@mutant("0|first|clean|before")
def zero_before_the_first(x_0, x_t, t, alpha_bar):
    bar, before = float(alpha_bar[t]), float(alpha_bar[t - 1]) if t > 0 else 0.0
    alpha = bar / before if before else bar
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, (1 - before) / (1 - bar) * (1 - alpha)


@mutant("0|first|clean|before")
def noisy_picture_at_the_first(x_0, x_t, t, alpha_bar):
    return (x_t.clone(), 0.0) if t == 0 else right(x_0, x_t, t, alpha_bar)


@mutant("0|first|clean|before|variance")
def beta_at_the_first(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean, variance if t else 1 - float(alpha_bar[0])


@mutant("0|first|clean|before|variance")
def variance_of_the_second_at_the_first(x_0, x_t, t, alpha_bar):
    """What the official code does before its logarithm."""
    return right(x_0, x_t, t, alpha_bar)[0], right(x_0, x_t, max(t, 1), alpha_bar)[1]


@mutant("variance|beta")
def variance_of_the_forward_step(x_0, x_t, t, alpha_bar):
    mean, _ = right(x_0, x_t, t, alpha_bar)
    return mean, 1 - numbers(t, alpha_bar)[2] if t else 0.0


@mutant("variance|deviation|root|sqrt")
def standard_deviation(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean, variance**0.5


@mutant("variance|log")
def logarithm_of_the_variance(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean, math.log(max(variance, 1e-20))


@mutant()
def variance_upside_down(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    return right(x_0, x_t, t, alpha_bar)[0], (1 - bar) / (1 - before) * (1 - alpha) if t else 0.0


@mutant()
def variance_with_alpha_for_beta(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    return right(x_0, x_t, t, alpha_bar)[0], (1 - before) / (1 - bar) * alpha


@mutant()
def variance_of_what_is_left(x_0, x_t, t, alpha_bar):
    """1 - alpha_bar_{t-1}: of q(x_{t-1} | x_0)."""
    return right(x_0, x_t, t, alpha_bar)[0], 1 - numbers(t, alpha_bar)[1]


@mutant("swap|exchang|other")
def pictures_swapped(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_t + alpha**0.5 * (1 - before) / (1 - bar) * x_0
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant("root|sqrt")
def mean_without_roots(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before * (1 - alpha) / (1 - bar) * x_0 + alpha * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def root_of_this_alpha_bar_on_the_picture(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = bar**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def root_of_alpha_bar_on_the_state(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + bar**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def root_of_beta_on_the_picture(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) ** 0.5 / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def share_for_its_root_on_the_state(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha * (1 - before) / (1 - bar) * x_t
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def divided_by_the_root(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = (before**0.5 * (1 - alpha) * x_0 + alpha**0.5 * (1 - before) * x_t) / (1 - bar) ** 0.5
    return mean, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def not_divided(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    return before**0.5 * (1 - alpha) * x_0 + alpha**0.5 * (1 - before) * x_t, (1 - before) * (1 - alpha)


@mutant()
def weights_brought_to_sum_one(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    first, second = before**0.5 * (1 - alpha), alpha**0.5 * (1 - before)
    return (first * x_0 + second * x_t) / (first + second), right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def noised_again_without_the_state(x_0, x_t, t, alpha_bar):
    """q(x_{t-1} | x_0): what x_t tells is lost."""
    _, before, _ = numbers(t, alpha_bar)
    return before**0.5 * x_0, 1 - before


@mutant()
def ddim_direction(x_0, x_t, t, alpha_bar):
    """The mean of DDIM with eta 0."""
    bar, before, _ = numbers(t, alpha_bar)
    epsilon = (x_t - bar**0.5 * x_0) / (1 - bar) ** 0.5
    return before**0.5 * x_0 + (1 - before) ** 0.5 * epsilon, right(x_0, x_t, t, alpha_bar)[1]


@mutant()
def one_step_too_late(x_0, x_t, t, alpha_bar):
    return right(x_0, x_t, min(t + 1, len(alpha_bar) - 1), alpha_bar)


@mutant()
def papers_counting(x_0, x_t, t, alpha_bar):
    """t = 1 ... T: everything one place too early."""
    return right(x_0, x_t, max(t - 1, 0), alpha_bar)


@mutant()
def the_paper_s_counting_at_the_end_only(x_0, x_t, t, alpha_bar):
    """The last step counted as the one before it."""
    return right(x_0, x_t, min(t, len(alpha_bar) - 2), alpha_bar)


@mutant()
def two_steps_back(x_0, x_t, t, alpha_bar):
    bar, before = float(alpha_bar[t]), float(alpha_bar[t - 2]) if t > 1 else 1.0
    alpha = bar / before
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, (1 - before) / (1 - bar) * (1 - alpha)


@mutant()
def alpha_bar_taken_for_alpha(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar.cumprod(dim=0))
    return mean, variance


@mutant()
def clamped_mean(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean.clamp(-1, 1), variance


@mutant()
def clamped_picture(x_0, x_t, t, alpha_bar):
    return right(x_0.clamp(-1, 1), x_t, t, alpha_bar)


@mutant("order|swap|mean|variance")
def variance_first(x_0, x_t, t, alpha_bar):
    return right(x_0, x_t, t, alpha_bar)[::-1]


@mutant("mean|variance|two|tuple|both|2")
def mean_alone(x_0, x_t, t, alpha_bar):
    return right(x_0, x_t, t, alpha_bar)[0]


@mutant()
def a_sample(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean + variance**0.5 * torch.randn_like(mean), variance


@mutant("variance|shape|number|0-d")
def variance_of_every_value(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean, torch.full_like(mean, variance)


@mutant("float64|double|dtype")
def mean_in_double_precision(x_0, x_t, t, alpha_bar):
    return right(x_0.double(), x_t.double(), t, alpha_bar)


@mutant()
def mean_of_the_first_picture(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    return mean[:1].expand_as(mean), variance


@mutant("in.place")
def written_into_the_state(x_0, x_t, t, alpha_bar):
    mean, variance = right(x_0, x_t, t, alpha_bar)
    x_t.data.copy_(mean)
    return mean, variance


@mutant("in.place")
def one_put_before_the_schedule(x_0, x_t, t, alpha_bar):
    """At t = 0 the schedule's last value is overwritten so that alpha_bar[-1] is 1."""
    result = right(x_0, x_t, t, alpha_bar)
    if t == 0:
        alpha_bar.data[-1] = 1
    return result


@alternative
def right(x_0, x_t, t, alpha_bar):
    bar, before, alpha = numbers(t, alpha_bar)
    mean = before**0.5 * (1 - alpha) / (1 - bar) * x_0 + alpha**0.5 * (1 - before) / (1 - bar) * x_t
    return mean, (1 - before) / (1 - bar) * (1 - alpha)
