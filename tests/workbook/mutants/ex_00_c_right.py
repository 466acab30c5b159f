"""Answers to 00-c, SSIM of windows: right ones, each written differently."""

import torch
from einops import einsum

from .ex_00_c import ANSWERS, C1, C2, moments, ssim

alternative = ANSWERS.alternative


@alternative
def by_torch_var(x, y):
    cov = torch.stack([torch.cov(torch.stack(pair))[0, 1] for pair in zip(x, y, strict=True)])
    return ssim(x.mean(-1), y.mean(-1), x.var(dim=-1), y.var(dim=-1), cov)


@alternative
def by_moments_in_double(x, y):
    x, y, n = x.double(), y.double(), x.shape[1]
    mx, my, bessel = x.mean(1), y.mean(1), n / (n - 1)
    vx, vy = ((x * x).mean(1) - mx * mx) * bessel, ((y * y).mean(1) - my * my) * bessel
    return ssim(mx, my, vx, vy, ((x * y).mean(1) - mx * my) * bessel).float()


@alternative
def one_fraction_by_einsum(a, b):
    n = a.shape[-1]
    ma, mb = a.sum(-1) / n, b.sum(-1) / n
    da, db = a - ma.unsqueeze(-1), b - mb.unsqueeze(-1)
    top = (2 * ma * mb + 1e-4) * (2 * einsum(da, db, "w n, w n -> w") / (n - 1) + 9e-4)
    return top / ((ma.square() + mb.square() + 1e-4) * ((da.square() + db.square()).sum(-1) / (n - 1) + 9e-4))


@alternative
def window_by_window(x, y):
    scores = []
    for a, b in zip(x, y, strict=True):
        cov = ((a - a.mean()) * b).sum() / (len(a) - 1)
        light = (2 * a.mean() * b.mean() + C1) / (a.mean() ** 2 + b.mean() ** 2 + C1)
        scores.append(light * (2 * cov + C2) / (a.var() + b.var() + C2))
    return torch.stack(scores)


@alternative
def by_sum_and_difference(x, y):
    """4 cov = var(x + y) - var(x - y)."""
    vx, vy = torch.var_mean(x, 1), torch.var_mean(y, 1)
    cov = ((x + y).var(1) - (x - y).var(1)) / 4
    return ssim(vx[1], vy[1], vx[0], vy[0], cov)


@alternative
def by_moments(x, y):
    """The mean of the squares less the square of the mean, as in scikit-image, but in the dtype of the pictures."""
    n = x.shape[1]
    mx, my, bessel = x.mean(1), y.mean(1), n / (n - 1)
    vx, vy = ((x * x).mean(1) - mx * mx) * bessel, ((y * y).mean(1) - my * my) * bessel
    return ssim(mx, my, vx, vy, ((x * y).mean(1) - mx * my) * bessel)


@alternative
def three_factors(x, y):
    """Brightness, contrast and structure with C3 = C2 / 2, as the paper has it."""
    mx, my, vx, vy, c = moments(x, y)
    sx, sy = vx.sqrt(), vy.sqrt()
    light, contrast = (2 * mx * my + C1) / (mx * mx + my * my + C1), (2 * sx * sy + C2) / (vx + vy + C2)
    return light * contrast * (c + C2 / 2) / (sx * sy + C2 / 2)


@alternative
def by_floats_in_a_tensor(x, y):
    return torch.tensor([ssim(*moments(a[None], b[None])).item() for a, b in zip(x, y, strict=True)])
