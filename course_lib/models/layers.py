"""Blocks that several models share: layer norm over channels, MDTA, GDFN, the Transformer block, pixel (un)shuffle, token attention.

Notation: B batch, C channels, H x W pixels, n heads, d = C/n channels of a head, L = H*W pixels, e GDFN expansion.

Speed. Feature maps are (B, C, H, W) to everybody who calls, but lie in memory channels-last, so that `permute(0, 2, 3, 1)` is a
free view with C innermost: LayerNorm and the 1x1 convolutions then read memory in order. Without gradients on the CPU the wide
intermediate maps are made a strip of rows at a time (`row_strips`) and never leave the cache. The plain forms of the
paper stand in `plain.py`; tests hold the two equal.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Bytes of a strip's widest map, in fp32. Of 1 to 32 MiB the fastest for a forward at 256x256 on two AVX512 cores (bf16: 3.2 s at 1 MiB,
# 2.1 s at 16): smaller strips pay for their halo, and beyond 32 MiB every allocation goes back to the system and faults in again.
STRIP_BYTES = 16 << 20


def row_strips(x: Tensor, channels: int, halo: int = 1) -> list[tuple[slice, slice]]:
    """Cut the rows of x (B, C, H, W) into strips whose widest map, `channels` wide, fits the cache: (rows to read, those to keep).

    Each strip reads `halo` rows more on either side: what a 3x3 convolution needs. With gradients or off the CPU: one strip,
    everything, because autograd keeps every map anyway and a GPU wants few large kernels.
    """
    batch, _, height, width = x.shape
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return [(slice(0, height), slice(0, height))]
    rows = max(8, STRIP_BYTES // (batch * channels * width * 4))
    strips = []
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        first, last = max(0, top - halo), min(height, bottom + halo)
        strips.append((slice(first, last), slice(top - first, bottom - first)))
    return strips


class LayerNorm(nn.Module):
    """Layer norm over the channels of each pixel, (B, C, H, W) -> same. Ba et al. 2016.

    `bias=False` is Restormer's "bias-free" form for denoising: it divides by the standard deviation about the mean but does
    not subtract the mean, so that scaling the image scales the features.
    """

    def __init__(self, channels: int, bias: bool = True, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)  # (B, H, W, C), a view
        if self.bias is not None:
            y = F.layer_norm(y, (y.shape[-1],), self.weight, self.bias, self.eps)
        else:
            y = y * _inverse_std(_at_least_float32(y), self.eps) * self.weight
        return y.permute(0, 3, 1, 2)  # (B, C, H, W)


def _inverse_std(y: Tensor, eps: float) -> Tensor:
    """1 / sqrt(var + eps) over the last axis, (..., C) -> (..., 1). Same as `y.var`, whose CPU kernel is five times slower."""
    if not torch.is_grad_enabled():
        return torch.native_layer_norm(y, y.shape[-1:], None, None, eps)[2]  # a by-product of the fused kernel, without a gradient
    centred = y - y.mean(-1, keepdim=True)
    return torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)


class TransposedAttention(nn.Module):
    """What MDTA and its kin share: `attend` mixes channels by a d x d map a head. Holds `heads`, `temperature` and `project_out`."""

    def weights(self, cosine: Tensor) -> Tensor:
        """Cosines of query and key channels, (B, n, d, d) -> attention, each row summing to 1."""
        return (cosine * self.temperature).softmax(dim=-1)

    def attend(self, shape: torch.Size, strips: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """(q, k, v), each (B, L, C), of one strip of rows after the other -> (B, C, H, W), which `shape` is."""
        B, C, H, W = shape
        n, d = self.heads, C // self.heads
        gram, q_power, k_power, values = 0, 0, 0, []
        for q, k, v in strips:
            q_power = q_power + _power(q).view(B, n, d, 1)  # |q|^2 of each channel
            k_power = k_power + _power(k).view(B, n, 1, d)
            if q.dtype == torch.float16:  # an unscaled sum over 256x256 pixels can pass fp16's 65504
                q, k = q * (H * W) ** -0.5, k * (H * W) ** -0.5
            q = q.reshape(B, -1, n, d).permute(0, 2, 3, 1)  # (B, n, d, L)
            k = k.reshape(B, -1, n, d).transpose(1, 2)  # (B, n, L, d)
            gram = gram + _at_least_float32(q @ k)  # (B, n, d, d)
            values.append(v)
        if values[0].dtype == torch.float16:
            gram = gram * (H * W)
        # Cosine scores: dividing the d x d map by the norms is the same as normalising q and k, and touches d*d numbers, not d*L.
        # The clamp is F.normalize's 1e-12, before the root: the root's slope at an all-zero channel would turn gradients into NaN.
        cosine = gram / (q_power.clamp_min(1e-24).sqrt() * k_power.clamp_min(1e-24).sqrt())
        attention = self.weights(cosine)  # (B, n, d, d)
        # project_out(attention @ v) = (project_out . attention) @ v: one C x C matrix an image instead of two passes over the pixels.
        weight = _at_least_float32(self.project_out.weight).view(C, n, d)
        mix = torch.einsum("cnd,bnde->bcne", weight, attention).reshape(B, C, C)
        v = values[0] if len(values) == 1 else torch.cat(values, dim=1)  # (B, H*W, C)
        out = v @ mix.transpose(1, 2).to(v.dtype)  # (B, H*W, C)
        if self.project_out.bias is not None:
            out = out + self.project_out.bias.to(out.dtype)
        return out.view(B, H, W, C).permute(0, 3, 1, 2)  # (B, C, H, W)


class MDTA(TransposedAttention):
    """Multi-Dconv head transposed attention: channels attend to channels, (B, C, H, W) -> same. Restormer, eq. 1.

    Each head mixes its d channels with a d x d map, so the cost is linear in the number of pixels. `temperature` (n, 1, 1)
    multiplies the cosine scores; it starts at 1. Raises ValueError when C does not divide by the heads.
    """

    def __init__(self, dim: int, heads: int, bias: bool = False):
        super().__init__()
        if dim % heads:
            raise ValueError(f"MDTA: {dim} channels do not divide into {heads} heads")
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x.shape, self._strips(x))

    def _strips(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        B, C = x.shape[:2]
        for read, keep in row_strips(x, 3 * C):
            qkv = self.qkv_dwconv(self.qkv(x[:, :, read]))[:, :, keep]  # (B, 3C, h, W)
            yield qkv.permute(0, 2, 3, 1).reshape(B, -1, 3 * C).split(C, dim=-1)  # each (B, L, C), L = h*W


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _power(x: Tensor) -> Tensor:
    """Sum of squares over the pixels, float32 at least: (B, L, C) -> (B, C)."""
    return _at_least_float32(x).square().sum(dim=1)


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network, (B, C, H, W) -> same: W3(gelu(D1 W1 x) * D2 W2 x). Restormer, eq. 2.

    int(C*e) hidden channels in each of the two paths; e = 2.66 keeps the cost near that of a plain network with e = 4.
    """

    def __init__(self, dim: int, expansion: float = 2.66, bias: bool = False):
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for read, keep in row_strips(x, 2 * self.project_out.in_channels):
            gate, value = self.dwconv(self.project_in(x[:, :, read]))[:, :, keep].chunk(2, dim=1)  # each (B, int(C*e), h, W)
            gate = F.gelu(gate.contiguous(memory_format=torch.channels_last))  # on the strided half gelu would take three times as long
            # In place saves a map's worth of memory traffic; autograd would need the factor, so only without gradients.
            gated = gate * value if torch.is_grad_enabled() else gate.mul_(value)
            parts.append(self.project_out(gated))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); (B, C, H, W) -> same. Restormer, fig. 2.

    `attention(dim, heads)` and `feed_forward(dim, expansion)` build the two pieces: hand over your own classes to train them.
    """

    def __init__(self, dim, heads, expansion=2.66, bias=False, norm_bias=True, attention=MDTA, feed_forward=GDFN):
        super().__init__()
        extra = {"bias": True} if bias else {}  # a piece that was written without biases need not know the word
        self.norm1 = LayerNorm(dim, norm_bias)
        self.attn = attention(dim, heads, **extra)
        self.norm2 = LayerNorm(dim, norm_bias)
        self.ffn = feed_forward(dim, expansion, **extra)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, 2C, H/2, W/2): a 3x3 convolution to C/2, then each 2x2 of pixels becomes four channels."""

    def __init__(self, channels: int, unshuffle=F.pixel_unshuffle):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.unshuffle = unshuffle

    def forward(self, x: Tensor) -> Tensor:
        return self.unshuffle(self.conv(x), 2)


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, C/2, 2H, 2W): a 3x3 convolution to 2C, then each four channels become a 2x2 of pixels."""

    def __init__(self, channels: int, shuffle=F.pixel_shuffle):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.shuffle = shuffle

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.conv(x), 2)


class TokenAttention(nn.Module):
    """Plain multi-head self-attention with one token a pixel, (B, C, H, W) -> same. Vaswani et al. 2017, eq. 1.

    The attention map is L x L: its cost grows with the square of the number of pixels, which is what MDTA avoids.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"TokenAttention: {dim} channels do not divide into {heads} heads")
        self.heads = heads
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        n, d = self.heads, C // self.heads
        qkv = self.qkv(x).flatten(2).view(B, 3, n, d, H * W)
        q, k, v = qkv.transpose(-2, -1).unbind(1)  # each (B, n, L, d)
        scores = q @ k.transpose(-2, -1) * d**-0.5  # (B, n, L, L)
        out = scores.softmax(dim=-1) @ v  # (B, n, L, d)
        return self.project_out(out.transpose(-2, -1).reshape(B, C, H, W))
