"""Answers to 05-d, RDDM's loss: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_05_d import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_the_equation(model, x0, x_in, t, noise, abar, bbar):
    a = abar[t].to(x0.dtype)[:, None, None, None]
    b = bbar[t].to(x0.dtype)[:, None, None, None]
    residual = x_in - x0
    x_t = x0 + a * residual + b * noise
    predicted_residual, predicted_noise = model(torch.cat([x_t, x_in], dim=1), t)
    return (predicted_residual - residual).abs().mean() + (predicted_noise - noise).abs().mean()


@alternative
def by_l1_loss(model, x0, x_in, t, noise, abar, bbar):
    a, b = (s.to(x0)[t].view(-1, 1, 1, 1) for s in (abar, bbar))
    outputs = model(torch.cat((torch.lerp(x0, x_in, a) + b * noise, x_in), 1), t)
    return sum(F.l1_loss(got, want) for got, want in zip(outputs, (x_in - x0, noise), strict=True))


@alternative
def by_a_module_and_twice_the_mean(model, x0, x_in, t, noise, abar, bbar):
    a, b = (s.gather(0, t).float().reshape(len(t), 1, 1, 1).type_as(x0) for s in (abar, bbar))
    network_input = torch.cat([x0 + a * (x_in - x0) + b * noise, x_in], dim=1)
    outputs = torch.stack(list(model(network_input, t)))
    return 2 * nn.L1Loss()(outputs, torch.stack([x_in - x0, noise]))


@alternative
def mean_of_the_images(model, x0, x_in, t, noise, abar, bbar):
    states = [c + abar[i].to(c.dtype) * (d - c) + bbar[i].to(c.dtype) * n for c, d, i, n in zip(x0, x_in, t, noise, strict=True)]
    residual, eps = model(torch.cat([torch.stack(states), x_in], dim=1), t)
    losses = [(r - (d - c)).abs().mean() + (e - n).abs().mean() for r, e, c, d, n in zip(residual, eps, x0, x_in, noise, strict=True)]
    return torch.stack(losses).mean()


@alternative
def without_a_graph_of_the_state(model, x0, x_in, t, noise, abar, bbar):
    """Nothing is trained before the network."""
    with torch.no_grad():
        a, b = (s[t].to(x0.dtype)[:, None, None, None] for s in (abar, bbar))
        x_t = x0 + a * (x_in - x0) + b * noise
    residual, eps = model(torch.cat([x_t, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(eps, noise)
