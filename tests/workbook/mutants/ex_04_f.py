"""Answers to 04-f, the simple loss: model, x_0, t, epsilon, alpha_bar -> mean squared error of epsilon, a scalar."""

import torch
import torch.nn.functional as F

from . import Answers

ANSWERS = Answers("04-f")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def noisy(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].to(x_0.dtype)[:, None, None, None]
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant("square|absolut|L1|l1")
def absolute_error(model, x_0, t, epsilon, alpha_bar):
    return F.l1_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon)


@mutant()
def huber(model, x_0, t, epsilon, alpha_bar):
    return F.smooth_l1_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon)


@mutant("root|sqrt")
def root_of_the_mean(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon).sqrt()


@mutant("mean|sum")
def sum_of_squares(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon, reduction="sum")


@mutant("mean|sum")
def sum_a_picture(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square()
    return error.flatten(1).sum(1).mean()


@mutant("mean|sum")
def sum_over_the_pictures(model, x_0, t, epsilon, alpha_bar):
    """Right for one picture."""
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square()
    return error.flatten(1).mean(1).sum()


@mutant("mean|sum|half|2")
def half_the_mean(model, x_0, t, epsilon, alpha_bar):
    return 0.5 * F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon)


@mutant("shape|scalar|0-d|one number|\\(\\)")
def one_loss_a_picture(model, x_0, t, epsilon, alpha_bar):
    return (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square().flatten(1).mean(1)


@mutant("shape|scalar|0-d|one number|\\(\\)")
def one_loss_in_a_list(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0, t, epsilon, alpha_bar)[None]


@mutant()
def square_of_the_mean_error(model, x_0, t, epsilon, alpha_bar):
    return (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).mean().square()


@mutant()
def variance_of_the_error(model, x_0, t, epsilon, alpha_bar):
    return (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).var()


@mutant()
def median_of_the_squares(model, x_0, t, epsilon, alpha_bar):
    return (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square().median()


@mutant("clean|x_0|noise|epsilon|target")
def against_the_picture(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), x_0)


@mutant()
def against_the_noisy_picture(model, x_0, t, epsilon, alpha_bar):
    x_t = noisy(x_0, t, epsilon, alpha_bar)
    return F.mse_loss(model(x_t, t), x_t)


@mutant()
def against_the_noise_as_it_was_added(model, x_0, t, epsilon, alpha_bar):
    x_t = noisy(x_0, t, epsilon, alpha_bar)
    return F.mse_loss(model(x_t, t), (1 - alpha_bar[t].to(x_0.dtype)[:, None, None, None]).sqrt() * epsilon)


@mutant()
def against_v(model, x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].to(x_0.dtype)[:, None, None, None]
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), bar.sqrt() * epsilon - (1 - bar).sqrt() * x_0)


@mutant()
def against_the_score(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), -epsilon)


@mutant()
def on_the_picture_it_implies(model, x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].to(x_0.dtype)[:, None, None, None]
    x_t = noisy(x_0, t, epsilon, alpha_bar)
    return F.mse_loss((x_t - (1 - bar).sqrt() * model(x_t, t)) / bar.sqrt(), x_0)


@mutant()
def weighted_by_the_level(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square().flatten(1).mean(1)
    return (alpha_bar[t].to(error.dtype) * error).mean()


@mutant()
def weights_of_the_bound(model, x_0, t, epsilon, alpha_bar):
    alpha = alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    weight = ((1 - alpha) / (2 * alpha * (1 - alpha_bar)))[t].to(x_0.dtype)
    return (weight * (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square().flatten(1).mean(1)).mean()


@mutant("noisy|x_t|clean|model")
def network_sees_the_clean_picture(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(x_0, t), epsilon)


@mutant("noisy|x_t|model")
def network_sees_the_noise(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(epsilon, t), epsilon)


@mutant()
def noised_without_roots(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0, t, epsilon, alpha_bar.square())


@mutant("\\[-1, 1\\]|scale|2")
def picture_moved_to_minus_one(model, x_0, t, epsilon, alpha_bar):
    return right(model, 2 * x_0 - 1, t, epsilon, alpha_bar)


@mutant()
def noisy_picture_clamped(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar).clamp(-1, 1), t), epsilon)


@mutant()
def prediction_clamped(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t).clamp(-1, 1), epsilon)


@mutant("noise|every time|random|given")
def noise_of_its_own(model, x_0, t, epsilon, alpha_bar):
    epsilon = torch.randn_like(x_0)
    return right(model, x_0, t, epsilon, alpha_bar)


@mutant("noise|every time|random|given")
def other_noise_as_the_target(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, torch.randn_like(x_0), alpha_bar), t), epsilon)


@mutant("time|every time|random|given")
def times_of_its_own(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0, torch.randint(0, len(alpha_bar), (len(x_0),)), epsilon, alpha_bar)


@mutant("time")
def network_told_another_time(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t + 1), epsilon)


@mutant("time")
def network_told_the_share_of_time(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t / len(alpha_bar)), epsilon)


@mutant("time")
def network_told_alpha_bar(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), alpha_bar[t].to(x_0.dtype)), epsilon)


@mutant("time")
def network_told_zero(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), torch.zeros_like(t)), epsilon)


@mutant("argument|time|t|positional")
def network_not_told_the_time(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar)), epsilon)


@mutant()
def one_time_for_all(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0, t[:1].expand(len(x_0)), epsilon, alpha_bar)


def right(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t), epsilon)
