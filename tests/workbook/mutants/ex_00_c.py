"""Answers to 00-c, SSIM of windows, x, y (N, n) -> (N,): wrong ones. The right ones stand in `ex_00_c_right.py`."""

import torch

from . import Answers

ANSWERS = Answers("00-c")
mutant = ANSWERS.mutant
C1, C2 = 0.01**2, 0.03**2


def moments(x, y, correction=1):
    """mean_x, mean_y, var_x, var_y, cov, each (N,): right ones with the correction 1."""
    mx, my = x.mean(1), y.mean(1)
    dx, dy, count = x - mx[:, None], y - my[:, None], x.shape[1] - correction
    return mx, my, (dx * dx).sum(1) / count, (dy * dy).sum(1) / count, (dx * dy).sum(1) / count


def ssim(mx, my, vx, vy, c, c1=C1, c2=C2):
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * (2 * c + c2) / (vx + vy + c2)


@mutant("n - 1|sample|biased")
def all_divided_by_n(x, y):
    return ssim(*moments(x, y, 0))


@mutant()
def covariance_divided_by_n(x, y):
    mx, my, vx, vy, _ = moments(x, y)
    return ssim(mx, my, vx, vy, moments(x, y, 0)[-1])


@mutant()
def variances_divided_by_n(x, y):
    mx, my, vx, vy, _ = moments(x, y, 0)
    return ssim(mx, my, vx, vy, moments(x, y)[-1])


@mutant()
def divided_by_n_minus_two(x, y):
    return ssim(*moments(x, y, 2))


@mutant()
def sums_not_divided(x, y):
    mx, my, vx, vy, c = moments(x, y)
    n = x.shape[1] - 1
    return ssim(mx, my, n * vx, n * vy, n * c)


@mutant()
def always_49_pixels(x, y):
    mx, my, vx, vy, c = moments(x, y)
    share = (x.shape[1] - 1) / 48
    return ssim(mx, my, share * vx, share * vy, share * c)


@mutant()
def seven_by_seven_only(x, y):
    x, y = x.reshape(-1, 7, 7).flatten(1), y.reshape(-1, 7, 7).flatten(1)
    return ssim(*moments(x, y))


@mutant()
def number_of_windows_for_n(x, y):
    mx, my, vx, vy, c = moments(x, y)
    share = (x.shape[1] - 1) / (x.shape[0] - 1)
    return ssim(mx, my, share * vx, share * vy, share * c)


@mutant("standard deviation|variance|squar")
def standard_deviations_for_variances(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return ssim(mx, my, vx.sqrt(), vy.sqrt(), c)


@mutant("constant|C1|C2|squar")
def constants_not_squared(x, y):
    return ssim(*moments(x, y), c1=0.01, c2=0.03)


@mutant("constant|C1|C2|swap")
def constants_swapped(x, y):
    return ssim(*moments(x, y), c1=C2, c2=C1)


@mutant("constant|C1|C2|255|range")
def constants_for_255(x, y):
    return ssim(*moments(x, y), c1=(0.01 * 255) ** 2, c2=(0.03 * 255) ** 2)


@mutant("constant|C1|C2|NaN|flat")
def no_constants(x, y):
    return ssim(*moments(x, y), c1=0, c2=0)


@mutant("constant|C1|C2|NaN|flat")
def a_tiny_constant(x, y):
    return ssim(*moments(x, y), c1=1e-8, c2=1e-8)


@mutant()
def first_constant_twice(x, y):
    return ssim(*moments(x, y), c2=C1)


@mutant()
def constants_below_only(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return 2 * mx * my / (mx**2 + my**2 + C1) * 2 * c / (vx + vy + C2)


@mutant("structure|contrast|second|factor|half")
def brightness_only(x, y):
    mx, my, *_ = moments(x, y)
    return (2 * mx * my + C1) / (mx**2 + my**2 + C1)


@mutant("bright|light|mean|first|factor|half")
def structure_only(x, y):
    _, _, vx, vy, c = moments(x, y)
    return (2 * c + C2) / (vx + vy + C2)


@mutant("product|multipl|add|sum")
def factors_added(x, y):
    return brightness_only(x, y) + structure_only(x, y)


@mutant()
def factors_averaged(x, y):
    return (brightness_only(x, y) + structure_only(x, y)) / 2


@mutant("2")
def two_of_the_covariance_forgotten(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return ssim(mx, my, vx, vy, c / 2)


@mutant("2")
def two_of_the_means_forgotten(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return (mx * my + C1) / (mx**2 + my**2 + C1) * (2 * c + C2) / (vx + vy + C2)


@mutant()
def square_of_the_sum(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return (2 * mx * my + C1) / ((mx + my) ** 2 + C1) * (2 * c + C2) / (vx + vy + C2)


@mutant("mean|subtract|centre")
def means_not_subtracted(x, y):
    mx, my, n = x.mean(1), y.mean(1), x.shape[1]
    return ssim(mx, my, (x * x).sum(1) / (n - 1), (y * y).sum(1) / (n - 1), (x * y).sum(1) / (n - 1))


@mutant()
def means_not_subtracted_in_the_covariance(x, y):
    mx, my, vx, vy, _ = moments(x, y)
    return ssim(mx, my, vx, vy, (x * y).sum(1) / (x.shape[1] - 1))


@mutant()
def covariance_from_the_deviations(x, y):
    mx, my, vx, vy, _ = moments(x, y)
    return ssim(mx, my, vx, vy, (vx * vy).sqrt())


@mutant("covariance|negative|sign")
def covariance_without_its_sign(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return ssim(mx, my, vx, vy, c.abs())


@mutant("negative|below|clip|clamp")
def negative_values_clipped(x, y):
    return ssim(*moments(x, y)).clamp(0, 1)


@mutant()
def correlation(x, y):
    _, _, vx, vy, c = moments(x, y)
    return c / (vx * vy).sqrt()


@mutant()
def third_constant_not_halved(x, y):
    mx, my, vx, vy, c = moments(x, y)
    sx, sy = vx.sqrt(), vy.sqrt()
    return brightness_only(x, y) * (2 * sx * sy + C2) / (vx + vy + C2) * (c + C2) / (sx * sy + C2)


@mutant()
def dissimilarity(x, y):
    return 1 - ssim(*moments(x, y))


@mutant("shape|average|each window|mean")
def averaged_at_the_end(x, y):
    return ssim(*moments(x, y)).mean()


@mutant("axis|dim|shape|window")
def statistics_over_the_windows(x, y):
    return ssim(*moments(x.T, y.T))


@mutant("window|dim|axis")
def statistics_of_all_windows_together(x, y):
    return ssim(*moments(x.reshape(1, -1), y.reshape(1, -1))).expand(x.shape[0])


@mutant("window|dim|axis|mean")
def one_mean_for_all_windows(x, y):
    _, _, vx, vy, c = moments(x, y)
    return ssim(x.mean(), y.mean(), vx, vy, c)


@mutant("shape")
def axis_of_the_means_kept(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return ssim(mx[:, None], my[:, None], vx[:, None], vy[:, None], c[:, None])


@mutant("shape")
def axes_of_length_one_squeezed(x, y):
    """Right for several windows; of a single one, its axis goes, too."""
    return ssim(*(value[:, None] for value in moments(x, y))).squeeze()


@mutant("shape")
def a_column_times_a_row(x, y):
    mx, my, vx, vy, c = moments(x, y)
    return ssim(mx[:, None], my[:, None], vx, vy, c)


@mutant()
def gaussian_weights(x, y):
    n = x.shape[1]
    w = torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / (2 * 1.5**2))
    w = w / w.sum()
    mx, my = x @ w, y @ w
    dx, dy = x - mx[:, None], y - my[:, None]
    return ssim(mx, my, (dx * dx) @ w, (dy * dy) @ w, (dx * dy) @ w)


@mutant("shape")
def covariance_between_windows(x, y):
    mx, my, vx, vy, _ = moments(x, y)
    c = (x - mx[:, None]) @ (y - my[:, None]).T / (x.shape[1] - 1)
    return ssim(mx, my, vx, vy, c)


@mutant()
def first_window_only(x, y):
    return ssim(*moments(x[:1], y[:1])).expand(x.shape[0])


@mutant("list|tensor")
def a_list_of_floats(x, y):
    return [value.item() for value in ssim(*moments(x, y))]


@mutant("in.place")
def means_subtracted_from_the_arguments(x, y):
    mx, my, n = x.mean(1), y.mean(1), x.shape[1] - 1
    x.data -= mx.detach()[:, None]
    y.data -= my.detach()[:, None]
    return ssim(mx, my, x.square().sum(1) / n, y.square().sum(1) / n, (x * y).sum(1) / n)
