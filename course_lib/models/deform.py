"""Modulated deformable convolution: a k x k convolution that decides per pixel where each of its taps looks, and how much it counts.

Zhu et al., "Deformable ConvNets v2", CVPR 2019, eq. 1, with K = k*k taps on the grid p_k around the pixel p:

    y(p) = sum_k  w_k . x(p + p_k + offset_k(p)) * mask_k(p)

x between pixels is bilinear, and zero outside the image. Two programs give the same numbers: torchvision's compiled operator, taken
where it is installed, and `plain_deform_conv2d` below, in PyTorch alone. On one CPU thread a training step through the plain
form took a seventh to a tenth of the time (32 and 64 channels, 64x64); `backend="plain"` asks for it where both are there.

Notation: B batch, C channels in, O channels out, H x W pixels, K taps.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.layers import row_strips

BACKENDS = ("auto", "torchvision", "plain")


@functools.cache
def torchvision_operator():
    """torchvision's `deform_conv2d`, or None where torchvision or its compiled part is missing. Imported at the first call."""
    try:
        from torchvision.ops import deform_conv2d as operator
    except (ImportError, RuntimeError, OSError):  # absent, or built for another torch: that raises RuntimeError or OSError
        return None
    return operator if hasattr(torch.ops.torchvision, "deform_conv2d") else None


def deform_backend(device: torch.device | str = "cpu") -> str:
    """What `backend="auto"` runs on a device: "torchvision" or "plain". On a CPU torchvision's operator takes several times as long."""
    return "plain" if torch.device(device).type == "cpu" or torchvision_operator() is None else "torchvision"


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, backend: str = "auto") -> Tensor:
    """Modulated deformable convolution, (B, C, H, W) -> (B, O, H, W); stride 1, padding k//2, no bias. Zhu et al. 2019, eq. 1.

    offset: (B, 2K, H, W) in pixels, down then right for each tap, taps row by row. mask: (B, K, H, W), usually in [0, 1].
    weight: (O, C, k, k), k odd. Half precision is computed in float32: a position in bf16 would be off by half a pixel at 100.
    backend: "auto" (torchvision's operator where there is one, on a CPU the faster plain form), "torchvision" or "plain".
    Raises ValueError for shapes that do not fit and for an unknown backend, RuntimeError for "torchvision" where it is missing.
    """
    B, C, H, W = x.shape
    k = weight.shape[-1]
    if k % 2 == 0 or tuple(weight.shape[1:]) != (C, k, k):
        raise ValueError(f"deform_conv2d: weight must be (O, {C}, k, k) with k odd, got {tuple(weight.shape)}")
    for name, tensor, channels in (("offset", offset, 2 * k * k), ("mask", mask, k * k)):
        if tuple(tensor.shape) != (B, channels, H, W):
            raise ValueError(f"deform_conv2d: {name} must be {(B, channels, H, W)}, got {tuple(tensor.shape)}")
    if backend not in BACKENDS:
        raise ValueError(f"deform_conv2d: unknown backend {backend!r}; there are {', '.join(BACKENDS)}")
    dtype = x.dtype
    wide = torch.promote_types(dtype, torch.float32)
    x, offset, mask, weight = (tensor.to(wide) for tensor in (x, offset, mask, weight))
    backend = deform_backend(x.device) if backend == "auto" else backend
    operator = torchvision_operator() if backend == "torchvision" else None
    if operator is None and backend == "torchvision":
        raise RuntimeError('deform_conv2d: torchvision or its compiled operators cannot be loaded; use backend="plain"')
    with torch.autocast(x.device.type, enabled=False):
        if operator is None:
            y = plain_deform_conv2d(x, offset, mask, weight)
        else:
            y = operator(x, offset, weight, padding=k // 2, mask=mask)
    return y.to(dtype)


def plain_deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """`deform_conv2d` in PyTorch alone: look up four pixels a tap, add them by their shares, multiply by the weights."""
    B, C, H, W = x.shape
    O, _, k, _ = weight.shape
    K = k * k
    pixels = x.permute(0, 2, 3, 1).reshape(B * H * W, C)  # one row a pixel
    matrix = weight.permute(2, 3, 1, 0).reshape(K * C, O)
    parts = []
    for rows, _ in row_strips(mask, K * C, halo=0):  # without gradients a strip of rows at a time, so that the taps stay in the cache
        index, share = _four_pixels(offset[:, :, rows], mask[:, :, rows], rows.start, H, W)
        taps = _weighted_rows(pixels, index, share)  # (B*h*W*K, C)
        y = taps.view(-1, K * C) @ matrix  # (B*h*W, O)
        parts.append(y.view(B, -1, W, O).permute(0, 3, 1, 2))  # (B, O, h, W), channels-last in memory
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _four_pixels(offset: Tensor, mask: Tensor, top: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(index, share), each (B*h*W*K, 4): the pixels around each tap's position, and the bilinear weight times the mask of each.

    `offset` and `mask` are h rows that begin at row `top` of the image. Pixels outside get share 0, whatever their index.
    """
    B, K, h, W = mask.shape
    k = math.isqrt(K)
    tap, row, column = (torch.arange(n, device=mask.device) for n in (K, h, W))
    down, right = offset.permute(0, 2, 3, 1).reshape(B, h, W, K, 2).unbind(-1)  # each (B, h, W, K)
    y = down + (top + row.view(h, 1, 1) + tap // k - k // 2)
    x = right + (column.view(W, 1) + tap % k - k // 2)
    y0, x0 = y.detach().floor(), x.detach().floor()
    y_part, x_part = y - y0, x - x0  # in [0, 1)
    image = torch.arange(B, device=mask.device).view(B, 1, 1, 1) * (height * width)
    weights = mask.permute(0, 2, 3, 1)  # (B, h, W, K)
    index, share = [], []
    for y1, y_share in ((y0, (1 - y_part) * weights), (y0 + 1, y_part * weights)):
        for x1, x_share in ((x0, 1 - x_part), (x0 + 1, x_part)):
            inside = (y1 >= 0) & (y1 < height) & (x1 >= 0) & (x1 < width)
            # nan_to_num: a training run that has diverged shall end in the loop's NaN report, not in an index error
            nearest = y1.clamp(0, height - 1).nan_to_num(0).long() * width + x1.clamp(0, width - 1).nan_to_num(0).long()
            index.append(image + nearest)
            share.append(y_share * x_share * inside)
    return torch.stack(index, dim=-1).view(-1, 4), torch.stack(share, dim=-1).view(-1, 4)


def _weighted_rows(pixels: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """sum_j share[n, j] * pixels[index[n, j]]: (P, C), (N, 4), (N, 4) -> (N, C)."""
    if pixels.device.type == "cpu":  # a weighted sum of table rows in one pass, about twice as fast as the line below
        return F.embedding_bag(index, pixels, per_sample_weights=share, mode="sum")
    return (pixels[index] * share.unsqueeze(-1)).sum(dim=1)


class DeformConv(nn.Module):
    """Deformable convolution guided by a code: (B, C, H, W), (B, E, H, W) -> (B, C, H, W). Li et al. 2022.

    A 3x3 convolution reads offsets and mask off the features and the code. It starts at zero: no offset, every tap at half weight.
    """

    def __init__(self, channels: int, code_channels: int, kernel: int = 3, backend: str = "auto"):
        super().__init__()
        taps = kernel * kernel
        self.backend = backend
        bound = (channels * taps) ** -0.5
        self.weight = nn.Parameter(torch.empty(channels, channels, kernel, kernel).uniform_(-bound, bound))
        self.conv_offset_mask = nn.Conv2d(channels + code_channels, 3 * taps, kernel, padding=kernel // 2)
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        taps = self.weight.shape[-1] ** 2
        offset, mask = self.conv_offset_mask(torch.cat([x, code], dim=1)).split([2 * taps, taps], dim=1)
        return deform_conv2d(x, offset, mask.sigmoid(), self.weight, self.backend)
