"""Answers to 04-g, a step of DDIM: right ones, each written differently, and wrong ones that harm or mistake what they were given."""

import math

import torch

from .ex_04_g import ANSWERS, clean, rest, right, sigma_of

mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("NaN|infinite|finite|last|1|division|zero")
def nan_at_the_clean_picture(x_t, epsilon, bar_t, bar_s, eta, z):
    """Divides by 1 - bar_s."""
    sigma = sigma_of(bar_t, bar_s, eta)
    ratio = torch.tensor(sigma**2) / torch.tensor(1 - bar_s)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + (1 - bar_s) ** 0.5 * (1 - ratio).sqrt() * epsilon + sigma * z


@mutant()
def smallest_number_under_the_root(x_t, epsilon, bar_t, bar_s, eta, z):
    """Never less than 0.01 of noise: not clean at the end."""
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(max(1e-4, 1 - bar_s - sigma**2)) * epsilon + sigma * z


@mutant()
def noise_at_every_step_but_small_ones(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta if bar_s < 0.5 else 0.0, z)


@mutant()
def division_kept_from_getting_large(x_t, epsilon, bar_t, bar_s, eta, z):
    """Wrong where bar_t is small."""
    sigma = sigma_of(bar_t, bar_s, eta)
    x_0 = (x_t - math.sqrt(1 - bar_t) * epsilon) / max(math.sqrt(bar_t), 0.2)
    return math.sqrt(bar_s) * x_0 + rest(bar_s, sigma) * epsilon + sigma * z


@mutant()
def noise_of_the_first_picture_for_all(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta, z[:1].expand_as(z))


@mutant()
def noise_with_deviation_one(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta, (z - z.mean()) / z.std())


@mutant()
def first_picture_only(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t[:1], epsilon[:1], bar_t, bar_s, eta, z[:1])


@mutant("in.place")
def state_overwritten(x_t, epsilon, bar_t, bar_s, eta, z):
    x_s = right(x_t, epsilon, bar_t, bar_s, eta, z)
    x_t.data.copy_(x_s)
    return x_s


@mutant("in.place")
def noise_scaled_in_place(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    z.data.mul_(sigma)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + rest(bar_s, sigma) * epsilon + z


@mutant("gradient|grad")
def gradients_switched_off(x_t, epsilon, bar_t, bar_s, eta, z):
    """For all that follows in the notebook."""
    torch.set_grad_enabled(False)
    return right(x_t, epsilon, bar_t, bar_s, eta, z)


@mutant("tuple|tensor")
def state_and_estimate(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t, epsilon, bar_t, bar_s, eta, z), clean(x_t, epsilon, bar_t)


@mutant("float64|double|dtype")
def double_precision(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t.double(), epsilon.double(), bar_t, bar_s, eta, z.double())


@mutant()
def half_precision(x_t, epsilon, bar_t, bar_s, eta, z):
    return right(x_t.bfloat16(), epsilon.bfloat16(), bar_t, bar_s, eta, z.bfloat16()).float()


@mutant("TypeError|float|sqrt")
def roots_of_torch_on_floats(x_t, epsilon, bar_t, bar_s, eta, z):
    """The levels are plain numbers."""
    return torch.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + torch.sqrt(1 - bar_s) * epsilon


@alternative
def with_powers(x_t, eps, a_t, a_s, eta, z):
    sigma = eta * ((1 - a_s) / (1 - a_t)) ** 0.5 * (1 - a_t / a_s) ** 0.5
    x_0 = (x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    direction = max(1 - a_s - sigma**2, 0) ** 0.5 * eps
    return a_s**0.5 * x_0 + direction + sigma * z


@alternative
def as_the_paper_integrates(x_t, epsilon, bar_t, bar_s, eta, z):
    """The state scaled, the coefficients of epsilon together; noise only if there is any."""
    sigma = sigma_of(bar_t, bar_s, eta)
    kept = math.sqrt(bar_s / bar_t)
    x_s = kept * x_t + (rest(bar_s, sigma) - kept * math.sqrt(1 - bar_t)) * epsilon
    if sigma > 0:
        x_s = x_s + sigma * z
    return x_s


@alternative
def with_tensors_of_one_number(x_t, epsilon, bar_t, bar_s, eta, z):
    bar_t, bar_s = torch.tensor(bar_t, dtype=torch.float64), torch.tensor(bar_s, dtype=torch.float64)
    variance = eta**2 * (1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)
    x_0 = (x_t - (1 - bar_t).sqrt() * epsilon) / bar_t.sqrt()
    return bar_s.sqrt() * x_0 + (1 - bar_s - variance).clamp(min=0).sqrt() * epsilon + variance.sqrt() * z


@alternative
@torch.no_grad()
def in_single_precision_without_gradients(x_t, epsilon, bar_t, bar_s, eta, z):
    bar_t, bar_s = torch.tensor(bar_t), torch.tensor(bar_s)
    sigma = eta * ((1 - bar_s) / (1 - bar_t)).sqrt() * (1 - bar_t / bar_s).sqrt()
    x_0 = (x_t - (1 - bar_t).sqrt() * epsilon) / bar_t.sqrt()
    return bar_s.sqrt() * x_0 + (1 - bar_s - sigma**2).clamp(min=0).sqrt() * epsilon + sigma * z


@alternative
def nothing_guarded(x_t, epsilon, bar_t, bar_s, eta, z):
    sigma = sigma_of(bar_t, bar_s, eta)
    return math.sqrt(bar_s) * clean(x_t, epsilon, bar_t) + math.sqrt(1 - bar_s - sigma**2) * epsilon + sigma * z


@alternative
def in_double_precision_inside(x_t, epsilon, bar_t, bar_s, eta, z):
    x, e, noise = (value.double() for value in (x_t, epsilon, z))
    sigma2 = eta * eta * (1 - bar_s) * (bar_s - bar_t) / (bar_s * (1 - bar_t))
    x_0 = (x - e * (1 - bar_t) ** 0.5) * bar_t**-0.5
    return torch.add(x_0 * bar_s**0.5 + e * max(0.0, 1 - bar_s - sigma2) ** 0.5, noise, alpha=sigma2**0.5).to(x_t.dtype)
