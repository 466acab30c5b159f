"""Answers to 01-e, where a token is: right ones, each written differently."""

import math

import torch

from .ex_01_e import ANSWERS

alternative = ANSWERS.alternative


@alternative
def by_exponentials(height, width, dim, base):
    frequencies = torch.exp(torch.arange(dim // 4) * (-math.log(base) * 4 / dim))
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (ys, xs)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


@alternative
def number_by_number(h, w, channels, b):
    m = channels // 4
    code = torch.zeros(h * w, channels)
    for y in range(h):
        for x in range(w):
            for i in range(m):
                omega = b ** (-i / m)
                code[y * w + x, [i, m + i, 2 * m + i, 3 * m + i]] = torch.tensor(
                    [math.sin(omega * y), math.cos(omega * y), math.sin(omega * x), math.cos(omega * x)]
                )
    return code


@alternative
def by_turning(height, width, dim, base):
    """Each step multiplies by exp(i omega): the codes are the imaginary and the real parts of its powers."""
    m = dim // 4
    omega = torch.tensor(float(base), dtype=torch.float64) ** (-torch.arange(m, dtype=torch.float64) / m)
    step = torch.polar(torch.ones_like(omega), omega)
    powers = step ** torch.arange(max(height, width))[:, None]
    axis = torch.cat([powers.imag, powers.real], dim=1).float()
    place = torch.arange(height * width)
    return torch.cat([axis[place // width], axis[place % width]], dim=1)


@alternative
def repeated(height, width, dim, base):
    omega = 1 / base ** torch.linspace(0, 1, dim // 4 + 1)[:-1]
    e = [torch.outer(torch.arange(n).float(), omega) for n in (height, width)]
    rows, columns = (torch.hstack((torch.sin(angles), torch.cos(angles))) for angles in e)
    return torch.hstack((rows.repeat_interleave(width, dim=0), columns.tile(height, 1)))


@alternative
def cosines_as_shifted_sines(height, width, dim, base):
    frequencies = torch.logspace(0, -1, dim // 4 + 1, base=base)[:-1].repeat(2)
    shift = torch.tensor([0, math.pi / 2]).repeat_interleave(dim // 4)
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return torch.sin(places[:, :, None] * frequencies + shift).flatten(1)
