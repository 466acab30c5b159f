"""Answers to 05-a, RDDM's two schedules: right ones, each written differently."""

import math

import torch

from .ex_05_a import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_cumsum(timesteps, sum_scale):
    rising = torch.arange(1, timesteps + 1, dtype=torch.float64)
    alphas = rising.flip(0) / rising.sum()
    betas2 = sum_scale * rising / rising.sum()
    return alphas.cumsum(0), betas2.cumsum(0).sqrt()


@alternative
def cut_as_the_official_code_does(timesteps, sum_scale):
    falling = torch.linspace(timesteps, 1, timesteps, dtype=torch.float64)
    rising = torch.linspace(1, timesteps, timesteps, dtype=torch.float64)
    total = timesteps * (timesteps + 1) / 2
    return torch.cumsum(falling / total, dim=0).clip(0, 1), torch.sqrt(torch.cumsum(rising / total, dim=0) * sum_scale)


@alternative
def in_closed_form(timesteps, sum_scale):
    n = torch.arange(1, timesteps + 1).double()
    total = timesteps * (timesteps + 1)
    left = (timesteps - n) * (timesteps - n + 1)
    return 1 - left / total, math.sqrt(sum_scale) * (n * (n + 1) / total).sqrt()


@alternative
def step_by_step_in_plain_python(timesteps, sum_scale):
    total = sum(range(1, timesteps + 1))
    abar, bbar, residual, variance = [], [], 0.0, 0.0
    for step in range(timesteps):
        residual += (timesteps - step) / total
        variance += (step + 1) / total * sum_scale
        abar.append(residual)
        bbar.append(math.sqrt(variance))
    return torch.tensor(abar, dtype=torch.float64), torch.tensor(bbar, dtype=torch.float64)


@alternative
def as_a_list_of_two(timesteps, sum_scale):
    rising = torch.ones(timesteps, dtype=torch.float64).cumsum(0)
    lower = torch.ones(timesteps, timesteps, dtype=torch.float64).tril()
    return [lower @ rising.flip(0) / rising.sum(), (lower @ rising / rising.sum()).mul(sum_scale).pow(0.5)]
