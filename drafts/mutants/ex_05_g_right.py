"""Answers to 05-g, DiffUIR's sampling: right ones, each written differently."""

import torch

from .ex_05_g import ANSWERS, Walk

alternative = ANSWERS.alternative


@alternative
def step_by_step(network, degraded, times, noise, abar, dbar, start_std):
    x_in = 2 * degraded - 1
    T = len(abar)
    x = (1 - dbar[-1].to(x_in.dtype)) * x_in + start_std * noise
    for t, s in zip(times[:-1], times[1:], strict=True):
        time = torch.full((x.shape[0],), float(abar[t]) * T)
        residual = network(torch.cat([x, x_in], dim=1), time).clamp(-1, 1)
        if s == -1:
            x = (x_in - residual).clamp(-1, 1)
        else:
            x = x - (abar[t] - abar[s]) * residual + (dbar[t] - dbar[s]) * x_in
    return (x + 1) / 2


@alternative
@torch.no_grad()
def without_gradients(network, degraded, times, noise, abar, dbar, start_std):
    d = degraded * 2 - 1
    x = d - float(dbar[-1]) * d + start_std * noise
    batch, steps = d.shape[0], d.new_tensor(abar.shape[0])
    for i in range(len(times) - 1):
        t, s = times[i], times[i + 1]
        r = network(torch.cat((x, d), 1), (abar[t].to(d.dtype) * steps).repeat(batch)).clip(-1, 1)
        if s < 0:
            break
        x = x + float(abar[s] - abar[t]) * r + float(dbar[t] - dbar[s]) * d
    return (d - r).clip(-1, 1) / 2 + 0.5


@alternative
def last_step_after_the_loop(network, degraded, times, noise, abar, dbar, start_std):
    x_in = degraded * 2.0 - 1.0
    told = (abar * abar.numel()).to(degraded.dtype)

    def ask(x, t):
        return torch.clamp(network(torch.cat([x, x_in], dim=1), told[t].expand(len(x))), min=-1, max=1)

    x = torch.lerp(x_in, torch.zeros_like(x_in), float(dbar[-1])) + start_std * noise
    *walk, last, _ = times
    for t, s in zip(walk, [*walk[1:], last], strict=False):
        x = x - float(abar[t] - abar[s]) * ask(x, t) + float(dbar[t] - dbar[s]) * x_in
    return ((x_in - ask(x, last)) / 2 + 0.5).clamp(0, 1)


@alternative
def one_image_after_the_other(network, degraded, times, noise, abar, dbar, start_std):
    pairs = zip(degraded.split(1), noise.split(1), strict=True)
    return torch.cat([Walk().call(network, image, times, start, abar, dbar, start_std) for image, start in pairs])


@alternative
def in_inference_mode(network, degraded, times, noise, abar, dbar, start_std):
    with torch.inference_mode():
        x_in = degraded.mul(2).sub(1)
        x = x_in * (1 - dbar[-1].item()) + noise * start_std
        for i, t in enumerate(times[:-1]):
            told = torch.tensor([abar[t].item() * len(abar)] * len(x))
            residual = torch.clamp(network(torch.cat([x, x_in], dim=1), told), -1, 1)
            if i + 2 < len(times):
                s = times[i + 1]
                x = x - (abar[t] - abar[s]).item() * residual + (dbar[t] - dbar[s]).item() * x_in
    return torch.clamp(x_in - residual, -1, 1) * 0.5 + 0.5


@alternative
def by_recursion(network, degraded, times, noise, abar, dbar, start_std):
    x_in = 2 * degraded - 1

    def walk(x, t, s, *later):
        time = x.new_full((len(x),), (len(abar) * abar[t]).item())
        residual = network(torch.cat([x, x_in], dim=-3), time).clamp(-1.0, 1.0)
        if s < 0:
            return (x_in - residual).clamp(-1, 1)
        step = torch.stack([abar[s] - abar[t], dbar[t] - dbar[s]]).to(x)
        return walk(x + step[0] * residual + step[1] * x_in, s, *later)

    return walk((1 - dbar[-1]).to(x_in) * x_in + start_std * noise, *times).add(1).mul(0.5)


@alternative
def dbar_read_at_the_first_time(network, degraded, times, noise, abar, dbar, start_std):
    """`times` begins at T - 1."""
    x_in = 2 * degraded - 1
    x = (1 - float(dbar[times[0]])) * x_in + start_std * noise
    for t, s in zip(times, times[1:], strict=False):
        time = torch.ones(len(x)) * (float(abar[t]) * len(abar))
        residual = network(torch.cat([x, x_in], 1), time).clamp(-1, 1)
        x = x - float(abar[t] - abar[s]) * residual + float(dbar[t] - dbar[s]) * x_in
    return (x_in - residual + 1).div(2).clamp(0, 1)
