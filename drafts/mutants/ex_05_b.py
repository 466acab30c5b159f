"""Answers to 05-b, a picture on its way: x0, x_in, noise (B, C, H, W), t (B,), abar, bbar (T,) -> x_t (B, C, H, W)."""

import torch

from . import Answers

ANSWERS = Answers("05-b")
mutant = ANSWERS.mutant


def at(schedule, t, x):
    """Right: the entry of every image, (B, 1, 1, 1)."""
    return schedule[t].to(x.dtype)[:, None, None, None]


def right(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + at(bbar, t, x0) * noise


@mutant("sign|residual|x_in - x0|minus")
def residual_the_other_way(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x0 - x_in) + at(bbar, t, x0) * noise


@mutant("residual|x_in")
def input_for_the_residual(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * x_in + at(bbar, t, x0) * noise


@mutant("swap|x0|x_in|residual|clean|degraded")
def walks_from_the_degraded_to_the_clean(x0, x_in, t, noise, abar, bbar):
    return x_in + at(abar, t, x0) * (x0 - x_in) + at(bbar, t, x0) * noise


@mutant()
def starts_at_the_degraded(x0, x_in, t, noise, abar, bbar):
    return x_in + at(abar, t, x0) * (x_in - x0) + at(bbar, t, x0) * noise


@mutant()
def coefficients_swapped(x0, x_in, t, noise, abar, bbar):
    return x0 + at(bbar, t, x0) * (x_in - x0) + at(abar, t, x0) * noise


@mutant("square|bbar|root|deviation|variance")
def variance_for_the_deviation(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + at(bbar, t, x0) ** 2 * noise


@mutant("root|sqrt|bbar|variance|deviation")
def root_once_more(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + at(bbar, t, x0).sqrt() * noise


@mutant()
def root_of_abar(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0).sqrt() * (x_in - x0) + at(bbar, t, x0) * noise


@mutant()
def as_ddpm(x0, x_in, t, noise, abar, bbar):
    kept = 1 - at(abar, t, x0)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


@mutant()
def clean_image_fades_alone(x0, x_in, t, noise, abar, bbar):
    return (1 - at(abar, t, x0)) * x0 + at(bbar, t, x0) * noise


@mutant()
def noise_joined_to_the_residual(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0 + at(bbar, t, x0) * noise)


@mutant("noise")
def noise_forgotten(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0)


@mutant("bbar|noise")
def noise_at_full_strength(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + noise


@mutant()
def noise_as_at_the_end(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + bbar[-1].to(x0.dtype) * noise


@mutant()
def noise_subtracted(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) - at(bbar, t, x0) * noise


@mutant()
def residual_as_at_the_end(x0, x_in, t, noise, abar, bbar):
    return x_in + at(bbar, t, x0) * noise


@mutant("every time|random|noise")
def noise_of_its_own(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0) + at(bbar, t, x0) * torch.randn_like(x0)


@mutant("image|time|batch|t\\[0\\]|each")
def time_of_the_first_image(x0, x_in, t, noise, abar, bbar):
    """Right for equal times."""
    a, b = abar[t[0]].to(x0.dtype), bbar[t[0]].to(x0.dtype)
    return x0 + a * (x_in - x0) + b * noise


@mutant()
def noise_of_the_first_time(x0, x_in, t, noise, abar, bbar):
    """Right for equal times."""
    return x0 + at(abar, t, x0) * (x_in - x0) + bbar[t[0]].to(x0.dtype) * noise


@mutant()
def mean_over_the_times(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0).mean() * (x_in - x0) + at(bbar, t, x0).mean() * noise


@mutant()
def times_sorted(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, t.sort().values, noise, abar, bbar)


@mutant()
def first_entries_of_the_schedules(x0, x_in, t, noise, abar, bbar):
    places = torch.arange(len(t))
    return right(x0, x_in, places, noise, abar, bbar)


@mutant()
def one_number_of_the_times(x0, x_in, t, noise, abar, bbar):
    """Stops for more than one image."""
    a, b = abar[t.item()].to(x0.dtype), bbar[t.item()].to(x0.dtype)
    return x0 + a * (x_in - x0) + b * noise


@mutant("shape|\\(B, 1, 1, 1\\)|image|column|width|size")
def times_along_the_columns(x0, x_in, t, noise, abar, bbar):
    """Runs where the batch is as large as the image is wide."""
    return x0 + abar[t].to(x0.dtype) * (x_in - x0) + bbar[t].to(x0.dtype) * noise


@mutant()
def times_along_the_channels(x0, x_in, t, noise, abar, bbar):
    """Runs for a batch of three."""
    return x0 + abar[t].to(x0.dtype)[:, None, None] * (x_in - x0) + bbar[t].to(x0.dtype)[:, None, None] * noise


@mutant()
def reshaped_for_three_channels(x0, x_in, t, noise, abar, bbar):
    a, b = (s[t].to(x0.dtype)[:, None, None, None].expand(-1, 3, *x0.shape[2:]) for s in (abar, bbar))
    return x0[:, :3] + a * (x_in - x0)[:, :3] + b * noise[:, :3]


@mutant("t|time|step")
def one_step_before(x0, x_in, t, noise, abar, bbar):
    """At t = 0 the end of the schedule."""
    return right(x0, x_in, t - 1, noise, abar, bbar)


@mutant()
def one_step_after(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, (t + 1).clamp(max=len(abar) - 1), noise, abar, bbar)


@mutant()
def clean_at_time_zero(x0, x_in, t, noise, abar, bbar):
    """Takes t = 0 for the clean image."""
    return torch.where((t == 0)[:, None, None, None], x0, right(x0, x_in, t, noise, abar, bbar))


@mutant()
def summed_up_once_more(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, t, noise, abar.cumsum(0), bbar.cumsum(0))


@mutant("clamp|clip|cut|\\[-1, 1\\]")
def state_clamped(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, t, noise, abar, bbar).clamp(-1, 1)


@mutant()
def residual_clamped(x0, x_in, t, noise, abar, bbar):
    return x0 + at(abar, t, x0) * (x_in - x0).clamp(-1, 1) + at(bbar, t, x0) * noise


@mutant("in.place")
def clean_image_overwritten(x0, x_in, t, noise, abar, bbar):
    x_t = right(x0, x_in, t, noise, abar, bbar)
    x0.data.copy_(x_t)
    return x_t


@mutant("in.place")
def noise_scaled_in_place(x0, x_in, t, noise, abar, bbar):
    noise.data.mul_(at(bbar, t, x0).detach())
    return x0 + at(abar, t, x0) * (x_in - x0) + noise


@mutant("in.place")
def times_moved_in_place(x0, x_in, t, noise, abar, bbar):
    x_t = right(x0, x_in, t, noise, abar, bbar)
    t.sub_(1)
    return x_t


@mutant("float64|double|dtype|float32")
def double_precision(x0, x_in, t, noise, abar, bbar):
    """(B, 1, 1, 1) of float64 draws the images along."""
    return x0 + abar[t][:, None, None, None] * (x_in - x0) + bbar[t][:, None, None, None] * noise


@mutant()
def half_precision(x0, x_in, t, noise, abar, bbar):
    return right(x0.bfloat16(), x_in.bfloat16(), t, noise.bfloat16(), abar, bbar).to(x0.dtype)


@mutant("tuple|tensor")
def state_and_residual(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, t, noise, abar, bbar), x_in - x0


@mutant()
def first_image_only(x0, x_in, t, noise, abar, bbar):
    return right(x0, x_in, t, noise, abar, bbar)[:1]
