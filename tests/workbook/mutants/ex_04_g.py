"""Answers to 04-g, a step of DDIM: x_t, epsilon, floats bar_t, bar_s, eta, noise z -> x_s."""

import math

import torch

from . import Answers

ANSWERS = Answers("04-g")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def sigma_of(bar_t, bar_s, eta):
    return eta * math.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))


def clean(x_t, epsilon, bar_t):
    return (x_t - math.sqrt(1 - bar_t) * epsilon) / math.sqrt(bar_t)


def rest(bar_s, sigma):
    return math.sqrt(max(0.0, 1 - bar_s - sigma**2))


@mutant("eta|sigma|noise")
def eta_forgotten(x_t, epsilon, bar_t, bar_s, eta, z):
    """Always without noise."""
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(1 - bar_s) * epsilon


@mutant("eta|sigma|noise")
def eta_one(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, 1.0, z)


@mutant("eta|sigma")
def noise_whole_or_none(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, float(eta > 0), z)


@mutant("sigma|eta")
def room_for_the_noise_not_made(x_t, epsilon, bar_t, bar_s, eta, z):
    """Right for eta 0."""
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(1 - bar_s) * epsilon + sigma * z


@mutant("sigma|noise|z")
def room_made_but_no_noise_added(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon


@mutant("sigma|square|variance")
def variance_times_noise(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon + sigma**2 * z


@mutant("sigma|square|variance")
def sigma_not_squared_under_the_root(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(max(0.0, 1 - bar_s - sigma)) * epsilon + sigma * z


@mutant()
def sigma_outside_the_root(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + (math.sqrt(1 - bar_s) - sigma) * epsilon + sigma * z


@mutant()
def root_of_eta(x_t, epsilon, bar_t, bar_s, eta, z):
    """Right for 0 and 1."""
    return right(x_t, epsilon, bar_t, bar_s, math.sqrt(eta), z)


@mutant()
def eta_squared(x_t, epsilon, bar_t, bar_s, eta, z):
    """Right for 0 and 1."""
    return right(x_t, epsilon, bar_t, bar_s, eta**2, z)


@mutant()
def mixed_from_both_ends(x_t, epsilon, bar_t, bar_s, eta, z):
    """Right for 0 and 1."""
    ends = [right(x_t, epsilon, bar_t, bar_s, end, z) for end in (0.0, 1.0)]
    return (1 - eta) * ends[0] + eta * ends[1]


def with_sigma(sigma):
    def step(x_t, epsilon, bar_t, bar_s, eta, z):
        s = eta * sigma(bar_t, bar_s)
        return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, s) * epsilon + s * z

    return step


@mutant("sigma|root")
def sigma_without_roots(*arguments):
    return with_sigma(lambda bar_t, bar_s: (1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))(*arguments)


@mutant("sigma")
def sigma_of_the_forward_step(*arguments):
    """sigma-hat: more noise than there is room for, late in the chain."""
    return with_sigma(lambda bar_t, bar_s: math.sqrt(1 - bar_t / bar_s))(*arguments)


@mutant()
def sigma_with_levels_swapped(*arguments):
    return with_sigma(lambda bar_t, bar_s: math.sqrt((1 - bar_t) / max(1 - bar_s, 1e-12) * (1 - bar_t / bar_s)))(*arguments)


@mutant("sigma")
def sigma_of_the_first_factor(*arguments):
    return with_sigma(lambda bar_t, bar_s: math.sqrt((1 - bar_s) / (1 - bar_t)))(*arguments)


@mutant()
def sigma_by_a_difference(*arguments):
    return with_sigma(lambda bar_t, bar_s: math.sqrt((1 - bar_s) / (1 - bar_t) * (bar_s - bar_t)))(*arguments)


@mutant("sigma")
def sigma_of_all_that_is_left(*arguments):
    return with_sigma(lambda bar_t, bar_s: math.sqrt(1 - bar_s))(*arguments)


@mutant()
def levels_swapped(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_t) * clean(x_t, epsilon, bar_t) + rest(bar_t, sigma) * epsilon + sigma * z


@mutant()
def levels_taken_for_roots(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    x_0 = (x_t - (1 - bar_t) * epsilon) / bar_t
    return bar_s * x_0 + max(0.0, 1 - bar_s - sigma**2) * epsilon + sigma * z


@mutant()
def picture_not_divided(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    x_0 = x_t - math.sqrt(1 - bar_t) * epsilon
    return math.sqrt(bar_s) * x_0 + rest(bar_s, sigma) * epsilon + sigma * z


@mutant()
def picture_without_root(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return bar_s * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon + sigma * z


@mutant()
def picture_not_shrunk(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon + sigma * z


@mutant("clip|clamp|\\[-1, 1\\]")
def picture_clipped(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t).clamp(-1, 1) + rest(bar_s, sigma) * epsilon + sigma * z


@mutant("clip|clamp|\\[-1, 1\\]")
def result_clipped(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta, z).clamp(-1, 1)


@mutant()
def last_step_clipped(x_t, epsilon, bar_t, bar_s, eta, z):
    x_s = right(x_t, epsilon, bar_t, bar_s, eta, z)
    return x_s.clamp(-1, 1) if bar_s == 1 else x_s


@mutant()
def fresh_noise_for_the_direction(x_t, epsilon, bar_t, bar_s, eta, z):
    """The picture noised again."""
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(1 - bar_s) * z


@mutant("every time|random|z")
def noise_of_its_own(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta, torch.randn_like(x_t))


@mutant()
def noise_and_direction_swapped(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * z + sigma * epsilon


@mutant()
def sign_of_the_direction(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) - rest(bar_s, sigma) * epsilon + sigma * z


@mutant("level|clean|x_0|s")
def clean_picture_at_once(x_t, epsilon, bar_t, bar_s, eta, z):
    return clean(x_t, epsilon, bar_t)


@mutant()
def mean_of_the_ddpm(x_t, epsilon, bar_t, bar_s, eta, z):
    """With eta's noise: right for eta 1."""
    alpha = bar_t / bar_s
    mean = (x_t - (1 - alpha) / math.sqrt(1 - bar_t) * epsilon) / math.sqrt(alpha)
    return mean + sigma_of(bar_t, bar_s, eta) * z


@alternative
def right(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon + sigma * z
