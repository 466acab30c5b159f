"""Answers to 05-b, a picture on its way: right ones, each written differently."""

import torch

from .ex_05_b import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_the_equation(x0, x_in, t, noise, abar, bbar):
    a = abar[t].to(x0.dtype).view(-1, 1, 1, 1)
    b = bbar[t].to(x0.dtype).view(-1, 1, 1, 1)
    residual = x_in - x0
    return x0 + a * residual + b * noise


@alternative
def as_a_mean_of_both_images(x0, x_in, t, noise, abar, bbar):
    a, b = (schedule.gather(0, t).to(x0)[:, None, None, None] for schedule in (abar, bbar))
    return (1 - a) * x0 + a * x_in + b * noise


@alternative
def one_image_after_the_other(x0, x_in, t, noise, abar, bbar):
    states = []
    for clean, degraded, time, eps in zip(x0, x_in, t.tolist(), noise, strict=True):
        states.append(clean + float(abar[time]) * (degraded - clean) + float(bbar[time]) * eps)
    return torch.stack(states)


@alternative
def by_lerp(x0, x_in, t, noise, abar, bbar):
    shape = (len(t),) + (1,) * (x0.ndim - 1)
    mixed = torch.lerp(x0, x_in, abar.to(x0.dtype)[t].reshape(shape))
    return torch.addcmul(mixed, bbar.to(x0.dtype)[t].reshape(shape), noise)


@alternative
def by_einsum(x0, x_in, t, noise, abar, bbar):
    a, b = abar.index_select(0, t).type_as(x0), bbar.index_select(0, t).type_as(x0)
    return x0 + torch.einsum("b,bchw->bchw", a, x_in - x0) + torch.einsum("b,bchw->bchw", b, noise)


@alternative
def in_double_precision_inside(x0, x_in, t, noise, abar, bbar):
    weights = torch.stack([1 - abar[t], abar[t], bbar[t]]).double()
    images = torch.stack([x0, x_in, noise]).double()
    return (weights[..., None, None, None] * images).sum(0).to(x0.dtype)
