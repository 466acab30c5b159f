"""Answers to 05-d: more wrong ones, which hand back the wrong thing, lose the gradient or harm what they were given."""

import torch
import torch.nn.functional as F

from .ex_05_d import ANSWERS, forward, predict

mutant = ANSWERS.mutant


def right(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("scalar|shape")
def one_loss_an_image(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return ((residual - (x_in - x0)).abs() + (eps - noise).abs()).flatten(1).mean(1)


@mutant("tuple|tensor|scalar")
def both_losses(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0), F.l1_loss(eps, noise)


@mutant("shape|scalar")
def in_a_list_of_one(model, *arguments):
    return right(model, *arguments).reshape(1)


@mutant("float|tensor|item")
def a_python_number(model, *arguments):
    return right(model, *arguments).item()


@mutant("gradient|train|no_grad|detach")
def under_no_grad(model, *arguments):
    with torch.no_grad():
        return right(model, *arguments)


@mutant("gradient|train|no_grad|detach")
def outputs_detached(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = (out.detach() for out in predict(model, x0, x_in, t, noise, abar, bbar))
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant("gradient|train|no_grad|detach")
def residual_detached(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual.detach(), x_in - x0) + F.l1_loss(eps, noise)


@mutant("gradient|train|no_grad|detach")
def noise_trained_by_its_value_alone(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise).item()


@mutant("gradient|train")
def loss_with_a_leaf_of_its_own(model, *arguments):
    """It has a gradient, but none of the network's."""
    return right(model, *arguments).detach().clone().requires_grad_()


@mutant("backward|graph|gradient|second time")
def backward_called_inside(model, *arguments):
    """The training's own backward finds no graph any more."""
    loss = right(model, *arguments)
    loss.backward()
    return loss


@mutant()
def predictions_clamped(model, x0, x_in, t, noise, abar, bbar):
    """No gradient for a prediction that is far off."""
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual.clamp(-1, 1), x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def target_clamped(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(residual, (x_in - x0).clamp(-1, 1)) + F.l1_loss(eps, noise)


@mutant()
def state_clamped(model, x0, x_in, t, noise, abar, bbar):
    x_t = forward(x0, x_in, t, noise, abar, bbar).clamp(-1, 1)
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def first_image_alone(model, x0, x_in, t, noise, abar, bbar):
    return right(model, x0[:1], x_in[:1], t[:1], noise[:1], abar, bbar)


@mutant()
def weighted_by_the_time(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    weight = bbar[t].to(x0.dtype)[:, None, None, None]
    return (residual - (x_in - x0)).abs().mean() + (weight * (eps - noise).abs()).mean()


@mutant("in.place")
def input_overwritten(model, x0, x_in, t, noise, abar, bbar):
    loss = right(model, x0, x_in, t, noise, abar, bbar)
    x_in.data.sub_(x0.data)
    return loss


@mutant("in.place")
def noise_overwritten(model, x0, x_in, t, noise, abar, bbar):
    loss = right(model, x0, x_in, t, noise, abar, bbar)
    noise.data.zero_()
    return loss


@mutant()
def mean_of_the_signed_error(model, x0, x_in, t, noise, abar, bbar):
    residual, eps = predict(model, x0, x_in, t, noise, abar, bbar)
    return (residual - (x_in - x0)).mean().abs() + (eps - noise).mean().abs()


@mutant("float64|double|dtype|Double|float32")
def double_precision(model, x0, x_in, t, noise, abar, bbar):
    """The schedules draw the state along; a network of float32 stops."""
    a, b = (s[t].double()[:, None, None, None] for s in (abar, bbar))
    residual, eps = model(torch.cat([x0 + a * (x_in - x0) + b * noise, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)


@mutant()
def three_channels_of_six(model, x0, x_in, t, noise, abar, bbar):
    """Looks into the first output for both."""
    outputs = predict(model, x0, x_in, t, noise, abar, bbar)
    return F.l1_loss(outputs[0], x_in - x0) + F.l1_loss(outputs[0], noise)
