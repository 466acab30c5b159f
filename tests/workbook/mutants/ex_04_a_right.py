"""Answers to 04-a, a noisy image: right ones, each written differently."""

import torch

from .ex_04_a import ANSWERS, share

alternative = ANSWERS.alternative


@alternative
def without_gradients(x_0, t, epsilon, alpha_bar):
    with torch.no_grad():
        bar = share(alpha_bar, t, x_0)
        return bar.sqrt() * x_0 + (1 - bar).sqrt() * epsilon


@alternative
def roots_first(x_0, t, epsilon, alpha_bar):
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    view = (len(t),) + (1,) * (x_0.ndim - 1)
    return signal[t].view(view).to(x_0) * x_0 + noise[t].view(view).to(x_0) * epsilon


@alternative
def by_einsum_in_double_precision(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar.double().index_select(0, t)
    y = torch.einsum("b,bchw->bchw", bar**0.5, x_0.double()) + torch.einsum("b,bchw->bchw", (1 - bar) ** 0.5, epsilon.double())
    return y.to(x_0.dtype)


@alternative
def one_picture_after_the_other(x_0, t, epsilon, alpha_bar):
    """With plain numbers."""
    pictures = []
    for x, time, e in zip(x_0, t.tolist(), epsilon, strict=True):
        bar = float(alpha_bar[time])
        pictures.append(bar**0.5 * x + (1 - bar) ** 0.5 * e)
    return torch.stack(pictures)


@alternative
def by_an_angle(x_0, t, epsilon, alpha_bar):
    angle = torch.acos(alpha_bar.detach().double().sqrt())[t].unflatten(0, (-1, 1, 1, 1))
    return angle.cos().to(x_0.dtype) * x_0 + angle.sin().to(x_0.dtype) * epsilon


@alternative
def batch_last(x_0, t, epsilon, alpha_bar):
    bar = alpha_bar[t].to(x_0.dtype)
    return torch.addcmul(x_0.movedim(0, -1) * bar.sqrt(), epsilon.movedim(0, -1), (1 - bar).sqrt()).movedim(-1, 0)
