"""A tone and detail control beside a network that predicts a residual: ours, in none of the papers, for networks that train for minutes.

A residual U-Net must first learn to copy: the residual of a noisy picture is its every grain, that of a dark one nearly the picture
itself. The equaliser offers that from the start: the picture in bands of detail, each added to the residual with a gain that a small
network reads off the picture and the time. All gains begin at 0: at first it changes nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bands(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 5, 3, H, W): three scales of detail, what is left of the image, and a constant. The first four add up to it."""
    means = [image, *(F.avg_pool2d(image, side, 1, side // 2, count_include_pad=False) for side in (3, 7, 15))]
    details = [fine - coarse for fine, coarse in zip(means, means[1:], strict=False)]
    return torch.stack([*details, means[-1], torch.ones_like(image)], dim=1)


def summary(image: Tensor, split: Tensor) -> Tensor:
    """(B, 24) about an image (B, 3, H, W) and its `bands`: mean, deviation, darkest and brightest of 4x4 means; the size of each detail."""
    seen = F.avg_pool2d(image, 4)
    tone = torch.cat([seen.mean((2, 3)), seen.std((2, 3), correction=0), seen.amin((2, 3)), seen.amax((2, 3))], dim=1)  # (B, 12)
    detail = (split[:, :4].abs().mean((3, 4)) + 1e-3).log().flatten(1)  # (B, 12), of grain that may be 100 times finer or coarser
    return torch.cat([tone, detail], dim=1)


class Equaliser(nn.Module):
    """image (B, 3, H, W) in [-1, 1], H, W >= 4, and times t (B,) of 0 ... 1000 -> what is added to the residual, (B, 3, H, W)."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(25, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.gains = nn.Linear(width, 5 * 3)
        nn.init.zeros_(self.gains.weight)
        nn.init.zeros_(self.gains.bias)

    def forward(self, image: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):  # bands are differences of near values: fp32
            image = image.float()
            split = bands(image)
            time = (t.float() / 1000).reshape(-1, 1).expand(len(image), 1)
            gains = self.gains(self.body(torch.cat([summary(image, split), time], dim=1)))  # (B, 15)
            return (gains.view(-1, 5, 3, 1, 1) * split).sum(dim=1)
