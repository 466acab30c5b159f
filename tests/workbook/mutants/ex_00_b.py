"""Answers to 00-b, PSNR: x, y (B, 3, H, W) in [0, 1] -> dB, one for each picture, (B,)."""

import math

import torch
import torch.nn.functional as F
from einops import reduce

from . import Answers

ANSWERS = Answers("00-b")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def mse(x, y):
    """A right one, for answers that go wrong later."""
    return (x - y).square().mean(dim=(1, 2, 3))


@mutant("shape|batch|each picture")
def one_number_for_the_batch(x, y):
    return -10 * (x - y).square().mean().log10()


@mutant("batch|each picture")
def mean_of_the_batch_for_each(x, y):
    return (-10 * (x - y).square().mean().log10()).expand(x.shape[0])


@mutant("batch|each picture")
def average_psnr_for_each(x, y):
    return (-10 * mse(x, y).log10()).mean().repeat(x.shape[0])


@mutant("shape|float|tensor")
def a_python_float(x, y):
    return -10 * math.log10((x - y).square().mean().item())


@mutant("list|tensor")
def a_list_of_floats(x, y):
    return [-10 * math.log10(value.item()) for value in mse(x, y)]


@mutant("shape")
def one_number_for_each_channel(x, y):
    return -10 * (x - y).square().mean(dim=(2, 3)).log10()


@mutant("channel|logarithm|before")
def psnr_of_the_channels_averaged(x, y):
    return (-10 * (x - y).square().mean(dim=(2, 3)).log10()).mean(dim=1)


@mutant("shape")
def width_forgotten(x, y):
    return -10 * (x - y).square().mean(dim=(1, 2)).log10()


@mutant("shape")
def mean_over_the_batch(x, y):
    return -10 * (x - y).square().mean(dim=0).log10()


@mutant("shape")
def axes_kept(x, y):
    return -10 * (x - y).square().mean(dim=(1, 2, 3), keepdim=True).log10()


@mutant("shape")
def axes_of_length_one_squeezed(x, y):
    """Right for several pictures; of a single one, the batch axis goes, too."""
    return -10 * (x - y).square().mean(dim=(1, 2, 3), keepdim=True).log10().squeeze()


@mutant("shape")
def a_column(x, y):
    return -10 * mse(x, y).log10()[:, None]


@mutant("log")
def natural_logarithm(x, y):
    return -10 * mse(x, y).log()


@mutant("log")
def logarithm_to_base_two(x, y):
    return -10 * mse(x, y).log2()


@mutant("sign|minus|negative|-10")
def sign_forgotten(x, y):
    return 10 * mse(x, y).log10()


@mutant("10|20|twice|double")
def twenty_with_the_mse(x, y):
    return -20 * mse(x, y).log10()


@mutant("root|half|10|20")
def ten_with_the_root(x, y):
    return -10 * mse(x, y).sqrt().log10()


@mutant("10|decibel")
def bels(x, y):
    return -mse(x, y).log10()


@mutant("255|48|range|peak|\\[0, 1\\]")
def peak_255(x, y):
    return 20 * math.log10(255) - 10 * mse(x, y).log10()


@mutant("255|48|range|peak|\\[0, 1\\]")
def pictures_times_255(x, y):
    return -10 * (255 * x - 255 * y).square().mean(dim=(1, 2, 3)).log10()


@mutant("absolute|squar")
def absolute_error(x, y):
    return -10 * (x - y).abs().mean(dim=(1, 2, 3)).log10()


@mutant("absolute|squar")
def absolute_error_with_twenty(x, y):
    return -20 * (x - y).abs().mean(dim=(1, 2, 3)).log10()


@mutant("NaN|squar")
def not_squared(x, y):
    return -10 * (x - y).mean(dim=(1, 2, 3)).log10()


@mutant("squar|mean|order|before")
def squared_after_the_mean(x, y):
    return -10 * (x - y).mean(dim=(1, 2, 3)).square().log10()


@mutant("sum|mean|average")
def sum_for_mean(x, y):
    return -10 * (x - y).square().sum(dim=(1, 2, 3)).log10()


@mutant()
def divided_by_pixels_only(x, y):
    return -10 * ((x - y).square().sum(dim=(1, 2, 3)) / (x.shape[2] * x.shape[3])).log10()


@mutant()
def square_pictures_only(x, y):
    return -10 * ((x - y).square().sum(dim=(1, 2, 3)) / (3 * x.shape[2] ** 2)).log10()


@mutant()
def sixteen_pixels_a_side(x, y):
    return -10 * ((x - y).square().sum(dim=(1, 2, 3)) / (3 * 16 * 16)).log10()


@mutant("peak|brightest|max|range")
def brightest_pixel_as_peak(x, y):
    return 10 * (y.amax(dim=(1, 2, 3)).square() / mse(x, y)).log10()


@mutant()
def brightest_pixel_of_the_first_as_peak(x, y):
    return 10 * (x.max().square() / mse(x, y)).log10()


@mutant()
def signal_to_noise_ratio(x, y):
    return 10 * (y.square().mean(dim=(1, 2, 3)) / mse(x, y)).log10()


@mutant()
def variance_of_the_error(x, y):
    return -10 * (x - y).var(dim=(1, 2, 3), unbiased=False).log10()


@mutant()
def variance_of_the_error_unbiased(x, y):
    return -20 * (x - y).std(dim=(1, 2, 3)).log10()


@mutant()
def logarithm_of_each_pixel(x, y):
    return (-10 * ((x - y).square() + 1e-12).log10()).mean(dim=(1, 2, 3))


@mutant()
def largest_error(x, y):
    return -10 * (x - y).square().amax(dim=(1, 2, 3)).log10()


@mutant()
def luminance_only(x, y):
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return -10 * ((x - y) * weights).sum(1).square().mean(dim=(1, 2)).log10()


@mutant()
def eight_bits(x, y):
    return -10 * mse((x * 255).round() / 255, (y * 255).round() / 255).log10()


@mutant()
def bytes_that_wrap_around(x, y):
    difference = (x * 255).to(torch.uint8) - (y * 255).to(torch.uint8)
    return 20 * math.log10(255) - 10 * difference.double().square().mean(dim=(1, 2, 3)).log10()


@mutant()
def border_shaved(x, y):
    return -10 * mse(x[..., 2:-2, 2:-2], y[..., 2:-2, 2:-2]).log10()


@mutant()
def one_added_against_infinity(x, y):
    return -10 * (1 + mse(x, y)).log10()


@mutant()
def capped_at_40(x, y):
    return (-10 * mse(x, y).log10()).clamp(max=40)


@mutant()
def never_below_twenty(x, y):
    return (-10 * mse(x, y).log10()).clamp(min=20)


@mutant("shape")
def first_picture_only(x, y):
    return -10 * (x[0] - y[0]).square().mean().log10()[None]


@mutant("in.place")
def difference_written_into_x(x, y):
    x -= y
    return -10 * x.square().mean(dim=(1, 2, 3)).log10()


@alternative
def flattened_with_the_inverse(x, y):
    return 10 * torch.log10(1 / (x - y).flatten(1).pow(2).mean(1))


@alternative
def by_the_root(restored, clean):
    rmse = torch.linalg.vector_norm((restored - clean).flatten(1), dim=1) / math.sqrt(clean[0].numel())
    return 20 * torch.log10(1.0 / rmse)


@alternative
def picture_by_picture(x, y):
    return torch.stack([10 * torch.log10(1 / F.mse_loss(a, b)) for a, b in zip(x, y, strict=True)])


@alternative
def by_floats_in_a_tensor(x, y):
    return torch.tensor([-10 * math.log10((a - b).square().mean().item()) for a, b in zip(x, y, strict=True)])


@alternative
def axis_by_axis_with_the_natural_logarithm(x, y):
    error = F.mse_loss(x, y, reduction="none").mean(3).mean(2).mean(1)
    return -10 / math.log(10) * torch.log(error)


@alternative
def by_einsum(x, y):
    d = y - x
    return -10 * (torch.einsum("bchw,bchw->b", d, d) / (x.size(1) * x.size(2) * x.size(3))).log10()


@alternative
def guarded_against_infinity(x, y):
    return -10 * reduce((x - y) ** 2, "b c h w -> b", "mean").clamp_min(1e-12).log10()


@alternative
def multiplied_out(x, y):
    x, y = x.double(), y.double()
    return -10 * (x * x - 2 * x * y + y * y).mean(dim=[-3, -2, -1]).log10().float()


@alternative
def by_bytes_range(x, y):
    """The same on the 0-255 scale: scale and peak cancel."""
    return 10 * torch.log10(255**2 / mse(255 * x, 255 * y))
