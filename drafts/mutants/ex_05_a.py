"""Answers to 05-a, RDDM's two schedules: timesteps, sum_scale -> abar (T,), bbar (T,) in float64."""

import torch

from . import Answers

ANSWERS = Answers("05-a")
mutant = ANSWERS.mutant


def line(timesteps):
    """1 ... T."""
    return torch.arange(1, timesteps + 1, dtype=torch.float64)


def right_abar(timesteps):
    falling = line(timesteps).flip(0)
    return (falling / falling.sum()).cumsum(0)


def right_bbar(timesteps, sum_scale):
    rising = line(timesteps)
    return (rising / rising.sum() * sum_scale).cumsum(0).sqrt()


@mutant("decreas|increas|order|flip|alpha|abar")
def both_increased(timesteps, sum_scale):
    rising = line(timesteps) / line(timesteps).sum()
    return rising.cumsum(0), (rising * sum_scale).cumsum(0).sqrt()


@mutant("decreas|increas|order|flip|beta|bbar")
def both_decreased(timesteps, sum_scale):
    falling = line(timesteps).flip(0) / line(timesteps).sum()
    return falling.cumsum(0), (falling * sum_scale).cumsum(0).sqrt()


@mutant("fall|decreas")
def the_two_shapes_swapped(timesteps, sum_scale):
    rising = line(timesteps) / line(timesteps).sum()
    return rising.cumsum(0), (rising.flip(0) * sum_scale).cumsum(0).sqrt()


@mutant()
def both_average(timesteps, sum_scale):
    same = torch.full((timesteps,), 1 / timesteps, dtype=torch.float64)
    return same.cumsum(0), (same * sum_scale).cumsum(0).sqrt()


@mutant("root|sqrt|bbar")
def no_root(timesteps, sum_scale):
    return right_abar(timesteps), right_bbar(timesteps, sum_scale) ** 2


@mutant("root|sqrt|bbar")
def roots_summed_up(timesteps, sum_scale):
    """The root before the sum."""
    rising = line(timesteps)
    return right_abar(timesteps), (rising / rising.sum() * sum_scale).sqrt().cumsum(0)


@mutant()
def root_of_both(timesteps, sum_scale):
    return right_abar(timesteps).sqrt(), right_bbar(timesteps, sum_scale)


@mutant("sum|cumsum")
def not_summed_up(timesteps, sum_scale):
    falling, rising = line(timesteps).flip(0), line(timesteps)
    return falling / falling.sum(), (rising / rising.sum() * sum_scale).sqrt()


@mutant()
def alphas_not_summed_up(timesteps, sum_scale):
    return line(timesteps).flip(0) / line(timesteps).sum(), right_bbar(timesteps, sum_scale)


@mutant()
def betas_not_summed_up(timesteps, sum_scale):
    return right_abar(timesteps), (line(timesteps) / line(timesteps).sum() * sum_scale).sqrt()


@mutant("sum_scale|root|bbar")
def sum_scale_after_the_root(timesteps, sum_scale):
    """Right for 1."""
    return right_abar(timesteps), right_bbar(timesteps, 1) * sum_scale


@mutant("sum_scale|root|bbar")
def root_of_sum_scale_under_the_root(timesteps, sum_scale):
    """Right for 1."""
    return right_abar(timesteps), right_bbar(timesteps, sum_scale**0.5)


@mutant()
def sum_scale_on_the_alphas_too(timesteps, sum_scale):
    """Right for 1."""
    return right_abar(timesteps) * sum_scale, right_bbar(timesteps, sum_scale)


@mutant()
def sum_scale_on_the_alphas_alone(timesteps, sum_scale):
    return right_abar(timesteps) * sum_scale, right_bbar(timesteps, 1)


@mutant("sum_scale|bbar|scale")
def sum_scale_forgotten(timesteps, sum_scale):
    return right_abar(timesteps), right_bbar(timesteps, 1)


@mutant()
def sum_scale_always_the_default(timesteps, sum_scale):
    return right_abar(timesteps), right_bbar(timesteps, 0.01)


@mutant()
def sum_scale_divides(timesteps, sum_scale):
    return right_abar(timesteps), right_bbar(timesteps, 1 / sum_scale)


@mutant()
def a_thousand_steps_assumed(timesteps, sum_scale):
    return right_abar(1000)[:timesteps], right_bbar(1000, sum_scale)[:timesteps]


@mutant()
def divided_for_a_thousand_steps(timesteps, sum_scale):
    return line(timesteps).flip(0).cumsum(0) / 500500, (line(timesteps).cumsum(0) / 500500 * sum_scale).sqrt()


@mutant()
def counted_from_zero(timesteps, sum_scale):
    rising = torch.arange(timesteps, dtype=torch.float64)
    return (rising.flip(0) / rising.sum()).cumsum(0), (rising / rising.sum() * sum_scale).cumsum(0).sqrt()


@mutant()
def from_one_to_zero(timesteps, sum_scale):
    falling = torch.linspace(1, 0, timesteps, dtype=torch.float64)
    return (falling / falling.sum()).cumsum(0), right_bbar(timesteps, sum_scale)


@mutant()
def area_under_the_line(timesteps, sum_scale):
    """The formula for infinitely many steps."""
    u = line(timesteps) / timesteps
    return 1 - (1 - u) ** 2, u * sum_scale**0.5


@mutant()
def divided_by_half_the_square(timesteps, sum_scale):
    total = timesteps**2 / 2
    return line(timesteps).flip(0).cumsum(0) / total, (line(timesteps).cumsum(0) / total * sum_scale).sqrt()


@mutant()
def divided_by_the_largest(timesteps, sum_scale):
    falling, rising = line(timesteps).flip(0) / timesteps, line(timesteps) / timesteps
    return falling.cumsum(0), (rising * sum_scale).cumsum(0).sqrt()


@mutant()
def sums_that_leave_the_step_out(timesteps, sum_scale):
    """abar_0 = 0: what lies before each step."""
    abar, bbar = right_abar(timesteps), right_bbar(timesteps, sum_scale)
    zero = torch.zeros(1, dtype=torch.float64)
    return torch.cat([zero, abar[:-1]]), torch.cat([zero, bbar[:-1]])


@mutant("shape|T")
def one_entry_more(timesteps, sum_scale):
    zero = torch.zeros(1, dtype=torch.float64)
    return torch.cat([zero, right_abar(timesteps)]), torch.cat([zero, right_bbar(timesteps, sum_scale)])


@mutant()
def summed_from_the_end(timesteps, sum_scale):
    return right_abar(timesteps).flip(0), right_bbar(timesteps, sum_scale).flip(0)


@mutant()
def what_is_left(timesteps, sum_scale):
    """1 - abar, as DDPM counts."""
    return 1 - right_abar(timesteps), right_bbar(timesteps, sum_scale)


@mutant()
def ddpm_noise(timesteps, sum_scale):
    """bbar from abar, as if the two were coupled."""
    abar = right_abar(timesteps)
    return abar, (1 - (1 - abar) ** 2).sqrt() * sum_scale**0.5


@mutant("order|swap|abar|first")
def handed_back_in_the_other_order(timesteps, sum_scale):
    return right_bbar(timesteps, sum_scale), right_abar(timesteps)


@mutant("float64|float32|dtype|double")
def in_single_precision(timesteps, sum_scale):
    return right_abar(timesteps).float(), right_bbar(timesteps, sum_scale).float()


@mutant("float64|float32|dtype|double")
def noise_in_single_precision(timesteps, sum_scale):
    return right_abar(timesteps), right_bbar(timesteps, sum_scale).float()


@mutant()
def alphas_alone(timesteps, sum_scale):
    return right_abar(timesteps)


@mutant()
def plain_lists(timesteps, sum_scale):
    return right_abar(timesteps).tolist(), right_bbar(timesteps, sum_scale).tolist()


@mutant()
def squares_too(timesteps, sum_scale):
    bbar = right_bbar(timesteps, sum_scale)
    return right_abar(timesteps), bbar, bbar**2


@mutant("shape")
def as_a_column(timesteps, sum_scale):
    return right_abar(timesteps)[:, None, None, None], right_bbar(timesteps, sum_scale)[:, None, None, None]


@mutant()
def last_entry_cut_below_one(timesteps, sum_scale):
    """As the official code keeps 1 - abar_T away from 0, but far more."""
    return right_abar(timesteps).clamp(max=0.999), right_bbar(timesteps, sum_scale)
