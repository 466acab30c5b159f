"""Answers to 04-f, the simple loss: wrong ones that train nothing or harm what they were given, and right ones."""

import torch
import torch.nn.functional as F

from .ex_04_f import ANSWERS, noisy, right

mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant("gradient|train")
def network_under_no_grad(model, x_0, t, epsilon, alpha_bar):
    with torch.no_grad():
        return right(model, x_0, t, epsilon, alpha_bar)


@mutant("gradient|train")
def prediction_detached(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(noisy(x_0, t, epsilon, alpha_bar), t).detach(), epsilon)


@mutant("gradient|train|float|tensor")
def a_number(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0, t, epsilon, alpha_bar).item()


@mutant("gradient|train")
def a_new_tensor(model, x_0, t, epsilon, alpha_bar):
    return torch.tensor(float(right(model, x_0, t, epsilon, alpha_bar)), requires_grad=True)


@mutant("gradient|train|frozen")
def network_frozen(model, x_0, t, epsilon, alpha_bar):
    if isinstance(model, torch.nn.Module):
        model.requires_grad_(False)
        return right(model, x_0, t, epsilon, alpha_bar)
    return right(model, x_0, t, epsilon, alpha_bar).detach()


@mutant("gradient|train")
def half_of_the_values_detached(model, x_0, t, epsilon, alpha_bar):
    got = model(noisy(x_0, t, epsilon, alpha_bar), t)
    keep = torch.arange(got.shape[-1]) % 2 == 0
    return F.mse_loss(torch.where(keep, got, got.detach()), epsilon)


@mutant()
def first_picture_only(model, x_0, t, epsilon, alpha_bar):
    return right(model, x_0[:1], t[:1], epsilon[:1], alpha_bar)


@mutant()
def middle_of_the_picture_only(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square()
    return error[..., 1:-1, 1:-1].mean()


@mutant()
def mean_of_a_square_picture(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square()
    return error.sum() / (len(x_0) * x_0.shape[1] * x_0.shape[-1] ** 2)


@mutant()
def mean_of_three_channels(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square()
    return error.sum() / (len(x_0) * 3 * x_0.shape[2] * x_0.shape[3])


@mutant()
def worst_picture_left_out(model, x_0, t, epsilon, alpha_bar):
    error = (model(noisy(x_0, t, epsilon, alpha_bar), t) - epsilon).square().flatten(1).mean(1)
    return error.sort().values[: max(1, len(error) - 1)].mean()


@mutant("in.place")
def picture_overwritten(model, x_0, t, epsilon, alpha_bar):
    x_t = noisy(x_0, t, epsilon, alpha_bar)
    loss = F.mse_loss(model(x_t, t), epsilon)
    x_0.data.copy_(x_t.detach())
    return loss


@mutant("in.place")
def noise_overwritten(model, x_0, t, epsilon, alpha_bar):
    loss = right(model, x_0, t, epsilon, alpha_bar)
    epsilon.data.zero_()
    return loss


@mutant("float64|double|dtype|Double|same")
def noisy_picture_in_double_precision(model, x_0, t, epsilon, alpha_bar):
    """A network of float32 weights does not take it."""
    return F.mse_loss(model(noisy(x_0.double(), t, epsilon.double(), alpha_bar), t), epsilon)


@mutant("backward|grad")
def backward_called_already(model, x_0, t, epsilon, alpha_bar):
    """The training calls it too: the gradients are doubled."""
    loss = right(model, x_0, t, epsilon, alpha_bar)
    loss.backward(retain_graph=True)
    return loss


@mutant("seed|random")
def seed_set_in_the_loss(model, x_0, t, epsilon, alpha_bar):
    """Every later step draws the same times and the same noise."""
    torch.manual_seed(0)
    return right(model, x_0, t, epsilon, alpha_bar)


@mutant("eval|mode")
def network_left_in_eval_mode(model, x_0, t, epsilon, alpha_bar):
    if isinstance(model, torch.nn.Module):
        model.eval()
        return right(model, x_0, t, epsilon, alpha_bar)
    return right(model, x_0, t, epsilon, alpha_bar).detach()


@mutant("twice|times|once|called")
def network_called_twice(model, x_0, t, epsilon, alpha_bar):
    """The first call for nothing."""
    x_t = noisy(x_0, t, epsilon, alpha_bar)
    model(x_t, t)
    return F.mse_loss(model(x_t, t), epsilon)


@mutant()
def rounded_prediction(model, x_0, t, epsilon, alpha_bar):
    got = model(noisy(x_0, t, epsilon, alpha_bar), t)
    return F.mse_loss(got + (got.bfloat16().float() - got).detach(), epsilon)


@mutant("order|argument|shape|time|match|size")
def time_before_the_picture(model, x_0, t, epsilon, alpha_bar):
    return F.mse_loss(model(t, noisy(x_0, t, epsilon, alpha_bar)), epsilon)


@mutant("tuple|tensor")
def loss_and_prediction(model, x_0, t, epsilon, alpha_bar):
    got = model(noisy(x_0, t, epsilon, alpha_bar), t)
    return F.mse_loss(got, epsilon), got


alternative(right)


@alternative
def by_hand(model, x_0, t, epsilon, alpha_bar):
    signal, noise = (table[t].float().view(-1, 1, 1, 1) for table in (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))
    predicted = model(signal * x_0 + noise * epsilon, t)
    return torch.mean((epsilon - predicted) ** 2)


@alternative
def picture_by_picture_then_the_mean(model, x_0, t, epsilon, alpha_bar):
    x_t = torch.stack(
        [float(alpha_bar[i]) ** 0.5 * x + (1 - float(alpha_bar[i])) ** 0.5 * e for i, x, e in zip(t, x_0, epsilon, strict=True)]
    )
    errors = (model(x_t, t) - epsilon).pow(2).flatten(1).mean(1)
    return errors.mean()


@alternative
def by_norms_in_double_precision(model, x_0, t, epsilon, alpha_bar):
    bar = alpha_bar.double()[t][:, None, None, None]
    with torch.no_grad():
        x_t = (bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon).to(x_0.dtype)
    difference = (model(x_t, t) - epsilon.detach()).double()
    return (torch.linalg.vector_norm(difference) ** 2 / difference.numel()).to(x_0.dtype)


@alternative
def noisy_picture_without_gradients(model, x_0, t, epsilon, alpha_bar):
    with torch.no_grad():
        x_t = noisy(x_0, t, epsilon, alpha_bar)
    return (epsilon - model(x_t, t)).square().mean(dim=(0, 1, 2, 3))


@alternative
def by_einsum(model, x_0, t, epsilon, alpha_bar):
    error = model(noisy(x_0, t, epsilon, alpha_bar), t).sub(epsilon)
    return torch.einsum("bchw,bchw->", error, error) / epsilon.numel()
