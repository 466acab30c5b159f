"""Answers to 05-f, RDDM's step without fresh noise: x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s -> x_s."""

import torch

from . import Answers

ANSWERS = Answers("05-f")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def right(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    return x_t - (abar_t - abar_s) * residual - (bbar_t - bbar_s) * noise


def add(name, formula, words=""):
    """A wrong answer from its formula of (x, r, e, a, a_s, b, b_s)."""

    def step(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
        return formula(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s)

    step.__name__ = name
    mutant(words)(step)


add("residual_added", lambda x, r, e, a, a_s, b, b_s: x + (a - a_s) * r - (b - b_s) * e, "sign|residual|minus|back")
add("noise_added", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r + (b - b_s) * e, "sign|noise|minus|back")
add("both_added", lambda x, r, e, a, a_s, b, b_s: x + (a - a_s) * r + (b - b_s) * e, "sign|minus|forward|back")
add("noise_left_in", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r, "noise|bbar")
add("residual_left_in", lambda x, r, e, a, a_s, b, b_s: x - (b - b_s) * e, "residual|abar")
add("all_the_residual", lambda x, r, e, a, a_s, b, b_s: x - a * r - (b - b_s) * e)
add("all_the_noise", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - b * e)
add("straight_to_the_clean_image", lambda x, r, e, a, a_s, b, b_s: x - a * r - b * e)
add("what_is_left_removed", lambda x, r, e, a, a_s, b, b_s: x - a_s * r - b_s * e)
add("full_residual", lambda x, r, e, a, a_s, b, b_s: x - r - e)
add("coefficients_swapped", lambda x, r, e, a, a_s, b, b_s: x - (b - b_s) * r - (a - a_s) * e)
add("ratio_for_the_difference", lambda x, r, e, a, a_s, b, b_s: x - (1 - a_s / a) * r - (1 - b_s / b) * e)
add("root_of_the_difference_of_variances", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b**2 - b_s**2) ** 0.5 * e)
add("difference_of_variances", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b**2 - b_s**2) * e)
add("square_of_the_difference", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b - b_s) ** 2 * e)
add("difference_of_roots", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b**0.5 - b_s**0.5) * e)
add("state_shrunk", lambda x, r, e, a, a_s, b, b_s: b_s / b * x - (a - a_s) * r - (b - b_s) * e)
add("times_swapped", lambda x, r, e, a, a_s, b, b_s: x - (a_s - a) * r - (b_s - b) * e)
add("noise_of_its_own", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b - b_s) * torch.randn_like(e), "random|every time|noise")
add("mean_of_the_posterior", lambda x, r, e, a, a_s, b, b_s: x - (a - a_s) * r - (b**2 - b_s**2) / b * e)
add("state_clamped", lambda *all: right(*all).clamp(-1, 1), "clamp|clip|cut|-1")
add("residual_clamped", lambda x, r, *more: right(x, r.clamp(-1, 1), *more))
add("noise_clamped", lambda x, r, e, *more: right(x, r, e.clamp(-1, 1), *more))
add("double_precision", lambda *all: right(*all).double(), "float64|double|dtype|float32")
add("half_precision", lambda *all: right(*all).bfloat16().float())
add("first_image_only", lambda *all: right(*all)[:1])
add("residual_of_the_first_image", lambda x, r, e, *more: right(x, r[:1], e[:1], *more))
add("residual_as_grey", lambda x, r, e, *more: right(x, r.mean(1, keepdim=True), e, *more))
add("step_and_estimate", lambda x, r, e, a, a_s, b, b_s: (right(x, r, e, a, a_s, b, b_s), x - a * r - b * e), "tuple|tensor")
add("scaled_to_an_image", lambda *all: (right(*all) + 1) / 2)


def by_the_clamped_estimate(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x0 = (x_t - abar_t * residual - bbar_t * noise).clamp(-1, 1)
    return x0 + abar_s * residual + bbar_s * noise


def with_eta(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    """The step with eta 1, less its fresh noise."""
    variance = (bbar_t**2 - bbar_s**2) * bbar_s**2 / bbar_t**2
    return x_t - (abar_t - abar_s) * residual - (bbar_t - (bbar_s**2 - variance) ** 0.5) * noise


def schedules_coupled(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    """Takes the noise to fall as the residual does."""
    return x_t - (abar_t - abar_s) * (residual + bbar_t / abar_t * noise)


def residual_guessed_again(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    """Right where the three fit together at abar 1."""
    x0 = (x_t - bbar_t * noise) - residual
    return x0 + abar_s * residual + bbar_s * noise


def state_overwritten(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x_s = right(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s)
    x_t.data.copy_(x_s)
    return x_s


def state_moved_in_place(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x_t -= (abar_t - abar_s) * residual
    x_t -= (bbar_t - bbar_s) * noise
    return x_t


def noise_scaled_in_place(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x_s = right(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s)
    noise.data.mul_(bbar_t - bbar_s)
    return x_s


def clean_before_the_first_step(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    """Takes a small bbar_s for none."""
    if bbar_s < 0.05:
        return x_t - abar_t * residual - bbar_t * noise
    return right(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s)


def five_equal_steps(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    return x_t - residual / 5 - bbar_t / 5 * noise


for piece in (by_the_clamped_estimate, with_eta, schedules_coupled, residual_guessed_again):
    mutant()(piece)
for piece in (state_overwritten, state_moved_in_place, noise_scaled_in_place):
    mutant("in.place")(piece)
for piece in (clean_before_the_first_step, five_equal_steps):
    mutant()(piece)


@alternative
def by_the_equation(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    return x_t - (abar_t - abar_s) * residual - (bbar_t - bbar_s) * noise


@alternative
def by_the_clean_image(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x0 = x_t - abar_t * residual - bbar_t * noise
    return x0 + abar_s * residual + bbar_s * noise


@alternative
def on_a_copy(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x = x_t.clone()
    x += (abar_s - abar_t) * residual
    x += (bbar_s - bbar_t) * noise
    return x


@alternative
def by_torch(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    x = torch.add(x_t, residual, alpha=float(abar_s - abar_t))
    return torch.sub(x, noise, alpha=float(bbar_t - bbar_s))


@alternative
def by_einsum_in_double_precision(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    parts = torch.stack([x_t, residual, noise]).double()
    weights = torch.tensor([1.0, abar_s - abar_t, bbar_s - bbar_t], dtype=torch.float64)
    return torch.einsum("k,kbchw->bchw", weights, parts).to(x_t.dtype)
