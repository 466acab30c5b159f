"""Answers to 04-a, a noisy image: x_0, t, epsilon, alpha_bar -> sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon."""

import torch

from . import Answers

ANSWERS = Answers("04-a")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


def share(alpha_bar, t, x):
    return alpha_bar[t].to(x.dtype)[:, None, None, None]


@mutant("root|sqrt")
def no_roots(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return bar * x_0 + (1 - bar) * epsilon


@mutant("root|sqrt|variance")
def variance_for_deviation(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return bar.sqrt() * x_0 + (1 - bar) * epsilon


@mutant("root|sqrt")
def picture_without_root(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return bar * x_0 + (1 - bar).sqrt() * epsilon


@mutant()
def roots_one_minus_the_root(x_0, t, epsilon, alpha_bar):
    root = share(alpha_bar, t, x_0).sqrt()
    return root * x_0 + (1 - root) * epsilon


@mutant("swap|exchang|other way|which|clean|picture")
def coefficients_swapped(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return (1 - bar).sqrt() * x_0 + bar.sqrt() * epsilon


@mutant()
def picture_not_shrunk(x_0, t, epsilon, alpha_bar):
    return x_0 + (1 - share(alpha_bar, t, x_0)).sqrt() * epsilon


@mutant()
def variance_exploding(x_0, t, epsilon, alpha_bar):
    """The picture at full size, the noise in proportion."""
    bar = share(alpha_bar, t, x_0)
    return x_0 + ((1 - bar) / bar).sqrt() * epsilon


@mutant()
def noise_subtracted(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return bar.sqrt() * x_0 - (1 - bar).sqrt() * epsilon


@mutant()
def one_time_too_late(x_0, t, epsilon, alpha_bar):
    return right(x_0, (t + 1).clamp(max=len(alpha_bar) - 1), epsilon, alpha_bar)


@mutant()
def one_time_too_early(x_0, t, epsilon, alpha_bar):
    """t = 1 ... T as the paper counts; at 0 it takes the last."""
    return right(x_0, t - 1, epsilon, alpha_bar)


@mutant()
def one_time_too_early_with_clean_start(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon, torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]]))


@mutant()
def counted_from_the_end(x_0, t, epsilon, alpha_bar):
    return right(x_0, len(alpha_bar) - 1 - t, epsilon, alpha_bar)


@mutant()
def time_of_the_first_picture_for_all(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t[0]].to(x_0.dtype)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant()
def mean_over_the_times(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].mean().to(x_0.dtype)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant()
def times_in_order(x_0, t, epsilon, alpha_bar):
    return right(x_0, t.sort().values, epsilon, alpha_bar)


@mutant()
def times_without_doubles(x_0, t, epsilon, alpha_bar):
    """Right while no two pictures have one time and the times rise."""
    return right(x_0, t.unique(), epsilon, alpha_bar)


@mutant("shape|size|broadcast|B, 1, 1, 1|match")
def no_axes_for_the_pixels(x_0, t, epsilon, alpha_bar):
    """(B,) meets the columns: runs where B is 1 or the width."""
    bar = alpha_bar[t].to(x_0.dtype)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant("shape|size|broadcast|B, 1, 1, 1|match|off")
def times_along_the_channels(x_0, t, epsilon, alpha_bar):
    """Runs where B is C."""
    bar = alpha_bar[t].to(x_0.dtype)[:, None, None]
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant()
def times_along_the_channels_where_they_fit(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].to(x_0.dtype)
    bar = bar[None, :, None, None] if x_0.shape[1] == len(t) else bar[:, None, None, None]
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant()
def a_thousand_steps(x_0, t, epsilon, alpha_bar):
    """Reads the place in the chain out of t / 1000."""
    return right(x_0, (t / 1000 * len(alpha_bar)).long(), epsilon, alpha_bar)


@mutant()
def linear_schedule_of_its_own(x_0, t, epsilon, alpha_bar):
    betas = torch.linspace(1e-4, 0.02, len(alpha_bar), dtype=torch.float64)
    return right(x_0, t, epsilon, torch.cumprod(1 - betas, dim=0))


@mutant()
def multiplied_up_again(x_0, t, epsilon, alpha_bar):
    """As if alpha_bar were the alphas."""
    return right(x_0, t, epsilon, alpha_bar.cumprod(dim=0))


@mutant()
def taken_for_betas(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon, (1 - alpha_bar).cumprod(dim=0))


@mutant()
def single_step_only(x_0, t, epsilon, alpha_bar):
    """q(x_t | x_{t-1}), on the clean picture."""
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return right(x_0, t, epsilon, alpha_bar / before)


@mutant()
def noise_of_its_own(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, torch.randn_like(x_0), alpha_bar)


@mutant()
def noise_brought_to_deviation_one(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, (epsilon - epsilon.mean()) / epsilon.std(), alpha_bar)


@mutant()
def noise_of_the_first_picture_for_all(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon[:1].expand_as(epsilon), alpha_bar)


@mutant()
def picture_moved_to_minus_one(x_0, t, epsilon, alpha_bar):
    return right(2 * x_0 - 1, t, epsilon, alpha_bar)


@mutant()
def kept_between_minus_one_and_one(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon, alpha_bar).clamp(-1, 1)


@mutant()
def rounded_schedule(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon, alpha_bar.bfloat16().float())


@mutant("float64|double|dtype")
def double_precision(x_0, t, epsilon, alpha_bar):
    return right(x_0.double(), t, epsilon.double(), alpha_bar.double())


@mutant("float64|double|dtype|float32")
def dtype_of_the_schedule(x_0, t, epsilon, alpha_bar):
    """With a schedule in float64 the picture becomes float64."""
    bar = alpha_bar[t].reshape(-1, 1, 1, 1)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@mutant("float|dtype")
def always_float32(x_0, t, epsilon, alpha_bar):
    """Right unless the picture has another dtype."""
    return right(x_0, t, epsilon, alpha_bar).float()


@mutant("in.place")
def picture_overwritten(x_0, t, epsilon, alpha_bar):
    y = right(x_0, t, epsilon, alpha_bar)
    x_0.data.copy_(y)
    return y


@mutant("in.place")
def schedule_overwritten(x_0, t, epsilon, alpha_bar):
    root = alpha_bar.data.sqrt_()[t].to(x_0.dtype)[:, None, None, None]
    return root * x_0 + (1 - root**2).sqrt() * epsilon


@mutant("in.place")
def times_counted_down(x_0, t, epsilon, alpha_bar):
    y = right(x_0, t, epsilon, alpha_bar)
    t -= 1
    return y


@mutant()
def noise_returned_too(x_0, t, epsilon, alpha_bar):
    return right(x_0, t, epsilon, alpha_bar), epsilon


@mutant()
def first_picture_only(x_0, t, epsilon, alpha_bar):
    return right(x_0[:1], t[:1], epsilon[:1], alpha_bar)


@mutant()
def three_channels_only(x_0, t, epsilon, alpha_bar):
    y = x_0.clone()
    y[:, :3] = right(x_0[:, :3], t, epsilon[:, :3], alpha_bar)
    return y


@mutant("seed|random")
def seed_set_inside(x_0, t, epsilon, alpha_bar):
    """Whatever draws after it draws the same each time."""
    torch.manual_seed(0)
    return right(x_0, t, epsilon, alpha_bar)


@alternative
def right(x_0, t, epsilon, alpha_bar):
    bar = share(alpha_bar, t, x_0)
    return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon
