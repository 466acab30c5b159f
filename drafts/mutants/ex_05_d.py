"""Answers to 05-d, RDDM's loss: model, x0, x_in, t, noise, abar, bbar -> a scalar."""

import torch
import torch.nn.functional as F

from . import Answers
from .ex_05_b import right as forward

ANSWERS = Answers("05-d")
mutant = ANSWERS.mutant


def predict(model, x0, x_in, t, noise, abar, bbar):
    """Right: what most answers begin with."""
    return model(torch.cat([forward(x0, x_in, t, noise, abar, bbar), x_in], dim=1), t)


@mutant("sign|residual|x_in - x0|minus")
def residual_the_other_way(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x0 - x_in) + F.l1_loss(eps, noise)


@mutant("square|absolute|L1|l1")
def squared_errors(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.mse_loss(residual, x_in - x0) + F.mse_loss(eps, noise)


@mutant()
def squared_error_of_the_noise(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.mse_loss(eps, noise)


@mutant()
def smooth_errors(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.smooth_l1_loss(residual, x_in - x0) + F.smooth_l1_loss(eps, noise)


@mutant("mean|sum")
def sums_for_means(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return (residual - (x_in - x0)).abs().sum() + (eps - noise).abs().sum()


@mutant()
def sums_of_each_image(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return ((residual - (x_in - x0)).abs() + (eps - noise).abs()).flatten(1).sum(1).mean()


@mutant("half|mean|sum|twice")
def half_of_it(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return (F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)) / 2


@mutant()
def both_in_one_mean(model, x0, x_in, t, noise, abar, bbar):
    outputs = torch.cat(predict(model, x0, x_in, t, noise, abar, bbar), dim=1)
    return F.l1_loss(outputs, torch.cat([x_in - x0, noise], dim=1))


@mutant("noise")
def residual_alone(model, x0, x_in, t, noise, abar, bbar):
    residual, _ = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0)


@mutant("residual")
def noise_alone(model, x0, x_in, t, noise, abar, bbar):
    _, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(eps, noise)


@mutant("order|swap|first|output")
def outputs_swapped(model, x0, x_in, t, noise, abar, bbar):
    eps, residual = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def error_of_the_sum(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return (residual - (x_in - x0) + eps - noise).abs().mean()


@mutant()
def error_of_the_second_against_the_sum(model, x0, x_in, t, noise, abar, bbar):
    """As the "add_noise" objectives have it."""
    residual, both = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(both, x_in - x0 + noise)


@mutant("order|x_in|cat|first")
def input_before_the_state(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_in, x_t], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("x_in|x0|clean|cat")
def clean_image_shown_to_the_network(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x0], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def input_shown_twice(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = model(torch.cat([x_in, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("x_in|cat|channel|shape|6")
def state_alone(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = model(forward(x0, x_in, t, noise, abar, bbar), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("dim|channel|shape|cat")
def joined_as_a_batch(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = model(torch.cat([forward(x0, x_in, t, noise, abar, bbar), x_in]), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("argument|cat")
def two_images_handed_over(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = model(forward(x0, x_in, t, noise, abar, bbar), x_in, t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("time|t")
def time_as_a_share(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t / len(abar))
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def time_as_diffuir_tells_it(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), (abar[t] * len(abar)).to(x0.dtype))
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def time_counted_from_one(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t + 1)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def time_of_the_first_image(model, x0, x_in, t, noise, abar, bbar):
    """Right for equal times."""
    x_t = forward(x0, x_in, t, noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t[:1].expand(len(t)))
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def state_at_the_first_time(model, x0, x_in, t, noise, abar, bbar):
    """Right for equal times."""
    x_t = forward(x0, x_in, t[:1].expand(len(t)), noise, abar, bbar)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def state_without_noise(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, torch.zeros_like(noise), abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("random|every time|noise")
def noise_of_its_own(model, x0, x_in, t, noise, abar, bbar):
    fresh = torch.randn_like(noise)
    residual, eps = predict(model, x0, x_in, t, fresh, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, fresh)


@mutant("random|every time|t")
def times_of_its_own(model, x0, x_in, t, noise, abar, bbar):
    t = torch.randint(0, len(abar), t.shape)
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def images_scaled_once_more(model, x0, x_in, t, noise, abar, bbar):
    """As if they lay in [0, 1]."""
    x0, x_in = 2 * x0 - 1, 2 * x_in - 1
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def residual_left_at_time_t(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - forward(x0, x_in, t, noise, abar, bbar)) + F.l1_loss(eps, noise)


@mutant()
def residual_faded_in(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    a, b = (s[t].to(x0.dtype)[:, None, None, None] for s in (abar, bbar))
    return F.l1_loss(residual, a * (x_in - x0)) + F.l1_loss(eps, b * noise)


@mutant()
def clean_image_for_the_residual(model, x0, x_in, t, noise, abar, bbar):
    first, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(first, x0) + F.l1_loss(eps, noise)
