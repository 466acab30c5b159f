"""Answers to 04-b, the cosine schedule: timesteps, offset, largest_beta -> alpha_bar (T,) float64, from betas that were cut."""

import math

import torch

from . import Answers

ANSWERS = Answers("04-b")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def f(time, offset):
    return torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2


def grid(timesteps):
    return torch.arange(timesteps + 1, dtype=torch.float64) / timesteps


def rebuilt(curve, largest_beta):
    """From the T+1 values of a falling curve."""
    return (curve[1:] / curve[:-1]).clamp(min=1 - largest_beta).cumprod(dim=0)


@mutant("cut|largest|beta|clamp|clip")
def nothing_cut(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return curve[1:] / curve[0]


@mutant("cut|largest|beta|clamp|clip")
def cut_at_0999_always(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, 0.999)


@mutant("cut|largest|beta|clamp|clip")
def only_the_last_beta_cut(timesteps, offset=0.008, largest_beta=0.999):
    """Right for the default."""
    curve = f(grid(timesteps), offset)
    betas = 1 - curve[1:] / curve[:-1]
    betas[-1] = min(float(betas[-1]), largest_beta)
    return (1 - betas).cumprod(dim=0)


@mutant("cut|largest|beta|clamp|clip")
def alpha_bar_cut_instead(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return (curve[1:] / curve[0]).clamp(min=1 - largest_beta)


@mutant()
def one_minus_alpha_bar_cut(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return (curve[1:] / curve[0]).clamp(max=largest_beta)


@mutant("cut|largest|beta|clamp|clip|rebuil|product")
def betas_cut_but_alpha_bar_not_rebuilt(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    betas = (1 - curve[1:] / curve[:-1]).clamp(max=largest_beta)
    return curve[:-1] / curve[0] * (1 - betas)


@mutant()
def cut_betas_made_zero(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    betas = 1 - curve[1:] / curve[:-1]
    return (1 - torch.where(betas > largest_beta, 0.0, betas)).cumprod(dim=0)


@mutant()
def cut_from_below(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return (1 - (1 - curve[1:] / curve[:-1]).clamp(min=1 - largest_beta)).cumprod(dim=0)


@mutant()
def both_ends_cut(timesteps, offset=0.008, largest_beta=0.999):
    """As diffusers' relatives do: no beta below 1e-3 either."""
    curve = f(grid(timesteps), offset)
    return (1 - (1 - curve[1:] / curve[:-1]).clamp(1e-3, largest_beta)).cumprod(dim=0)


@mutant()
def largest_beta_scaled_to_the_steps(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return rebuilt(curve, min(0.999, largest_beta * 1000 / timesteps))


@mutant("offset")
def offset_forgotten(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), 0.0), largest_beta)


@mutant("offset")
def offset_written_down(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), 0.008), largest_beta)


@mutant("offset|1 \\+")
def not_divided_by_one_plus_offset(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(torch.cos((grid(timesteps) + offset) * math.pi / 2) ** 2, largest_beta)


@mutant()
def offset_outside(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(torch.cos((grid(timesteps) / (1 + offset) + offset) * math.pi / 2) ** 2, largest_beta)


@mutant()
def offset_in_steps(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), offset / timesteps), largest_beta)


@mutant("square|cos")
def not_squared(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), offset).sqrt(), largest_beta)


@mutant()
def fourth_power(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), offset) ** 2, largest_beta)


@mutant()
def whole_half_turn(timesteps, offset=0.008, largest_beta=0.999):
    """cos over pi, lifted to 0 ... 1: without offset the same as the squared cosine."""
    curve = 0.5 + 0.5 * torch.cos(grid(timesteps) * math.pi)
    return rebuilt(curve, largest_beta)


@mutant()
def sine(timesteps, offset=0.008, largest_beta=0.999):
    return 1 - right(timesteps, offset, largest_beta)


@mutant("divi|f\\(0\\)|first|start|begin|1")
def not_divided_by_the_start(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return rebuilt(curve, largest_beta) * curve[0]


@mutant()
def shifted_by_one(timesteps, offset=0.008, largest_beta=0.999):
    """Begins with the 1 of the clean picture."""
    return torch.cat([torch.ones(1, dtype=torch.float64), right(timesteps, offset, largest_beta)[:-1]])


@mutant("shape|length|values")
def one_value_too_many(timesteps, offset=0.008, largest_beta=0.999):
    return torch.cat([torch.ones(1, dtype=torch.float64), right(timesteps, offset, largest_beta)])


@mutant()
def grid_from_zero_to_one_in_t_points(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(torch.linspace(0, 1, timesteps, dtype=torch.float64), offset)
    curve = torch.cat([curve[:1], curve])
    return rebuilt(curve, largest_beta)


@mutant()
def midpoints(timesteps, offset=0.008, largest_beta=0.999):
    curve = f((torch.arange(timesteps + 1, dtype=torch.float64) - 0.5).clamp(min=0) / timesteps, offset)
    return rebuilt(curve, largest_beta)


@mutant()
def the_grid_of_lucidrains(timesteps, offset=0.008, largest_beta=0.999):
    """T + 1 points over T + 1 steps."""
    curve = f(torch.linspace(0, timesteps + 1, timesteps + 1, dtype=torch.float64) / (timesteps + 2), offset)
    return rebuilt(curve, largest_beta)


@mutant("steps|length|shape|timesteps")
def a_thousand_steps(timesteps, offset=0.008, largest_beta=0.999):
    return right(1000, offset, largest_beta)


@mutant()
def first_of_a_thousand_steps(timesteps, offset=0.008, largest_beta=0.999):
    return right(1000, offset, largest_beta)[:timesteps]


@mutant()
def thousand_steps_thinned_out(timesteps, offset=0.008, largest_beta=0.999):
    fine = right(1000, offset, largest_beta)
    return fine[(torch.arange(1, timesteps + 1) * 1000 / timesteps).round().long().clamp(1, 1000) - 1]


@mutant("beta")
def the_betas(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return (1 - curve[1:] / curve[:-1]).clamp(max=largest_beta)


@mutant("product|cumprod")
def the_alphas(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return 1 - (1 - curve[1:] / curve[:-1]).clamp(max=largest_beta)


@mutant()
def sum_for_product(timesteps, offset=0.008, largest_beta=0.999):
    curve = f(grid(timesteps), offset)
    return 1 - (1 - curve[1:] / curve[:-1]).clamp(max=largest_beta).cumsum(dim=0)


@mutant()
def roots(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta).sqrt()


@mutant()
def backwards(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta).flip(0)


@mutant()
def linear_schedule(timesteps, offset=0.008, largest_beta=0.999):
    return (1 - torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64)).cumprod(dim=0)


@mutant("float64|dtype|double")
def single_precision(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta).float()


@mutant("tensor|list")
def a_list(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta).tolist()


@mutant("tensor|array|ndarray")
def an_array(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta).numpy()


@mutant("shape")
def a_column(timesteps, offset=0.008, largest_beta=0.999):
    return right(timesteps, offset, largest_beta)[:, None]


@mutant()
def both_results(timesteps, offset=0.008, largest_beta=0.999):
    alpha_bar = right(timesteps, offset, largest_beta)
    return alpha_bar, 1 - alpha_bar


@mutant("default|dtype")
def default_dtype_changed(timesteps, offset=0.008, largest_beta=0.999):
    torch.set_default_dtype(torch.float64)
    return right(timesteps, offset, largest_beta)


@alternative
def right(timesteps, offset=0.008, largest_beta=0.999):
    return rebuilt(f(grid(timesteps), offset), largest_beta)


@alternative
def with_math(timesteps, offset=0.008, largest_beta=0.999):
    def level(step):
        return math.cos((step / timesteps + offset) / (1 + offset) * math.pi / 2) ** 2

    alpha_bar, now = [], 1.0
    for step in range(timesteps):
        now *= 1 - min(1 - level(step + 1) / level(step), largest_beta)
        alpha_bar.append(now)
    return torch.tensor(alpha_bar, dtype=torch.float64)


@alternative
def as_in_the_paper(T, s=0.008, limit=0.999):
    steps = torch.linspace(0, T, T + 1, dtype=torch.float64)
    alphas_cumprod = torch.cos(((steps / T) + s) / (1 + s) * torch.pi * 0.5).pow(2)
    alphas_cumprod = alphas_cumprod / alphas_cumprod[0]
    betas = torch.clip(1 - (alphas_cumprod[1:] / alphas_cumprod[:-1]), max=limit)
    return torch.cumprod(1.0 - betas, dim=0)


@alternative
def written_into_an_empty_tensor(timesteps, offset=0.008, largest_beta=0.999):
    time = torch.linspace(offset / (1 + offset), 1, timesteps + 1, dtype=torch.float64)
    sines = torch.sin((1 - time) * math.pi / 2).square()
    alpha_bar = torch.empty(timesteps, dtype=torch.float64)
    for t in range(timesteps):
        beta = 1 - sines[t + 1] / sines[t]
        alpha_bar[t] = (alpha_bar[t - 1] if t else 1.0) * (1 - beta.clamp(max=largest_beta))
    return alpha_bar


@alternative
def by_double_angle_and_logarithms(timesteps, offset=0.008, largest_beta=0.999):
    angle = math.pi * (torch.arange(timesteps + 1).double() / timesteps + offset) / (1 + offset)
    curve = (1 + angle.cos()) / 2
    steps = torch.maximum(curve[1:] / curve[:-1], torch.full((timesteps,), 1 - largest_beta, dtype=torch.float64))
    return steps.log().cumsum(0).exp()
