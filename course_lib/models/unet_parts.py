"""The blocks of the diffusion U-Nets (DDPM, RDDM, DiffUIR): time embedding, residual block, two attentions, up and down.

The three official networks are two generations of one design (Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020,
appendix B, as it was rewritten in PyTorch and handed on). They differ in the pieces, not in the plan:

                       RDDM, DiffUIR                                   DDPM (later)
    convolution        weights standardised a filter                  plain
    norm in a block    GroupNorm, 8 groups                            RMSNorm over the channels
    attention          as it is; linear at every level                with learned memory keys; plain at the deepest level
    halving            4x4 convolution of stride 2                    2x2 pixels into channels, 1x1 convolution

Notation: B batch, C channels, H x W pixels, L = H*W, n heads, d channels of a head, E width of the time embedding, t time.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Time (B,), whole or not, -> (B, dim): sines, then cosines, of t at dim/2 frequencies, 1 to 1/10000. Vaswani et al. 2017, 3.5.

    Raises ValueError for a dim that is odd or below 4.
    """

    def __init__(self, dim: int):
        super().__init__()
        if dim % 2 or dim < 4:
            raise ValueError(f"SinusoidalEmbedding: dim must be even and at least 4, got {dim}")
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / (half - 1)))
        angles = t[:, None] * frequencies  # (B, dim/2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose every filter has mean 0 and variance 1 before it is used. Qiao et al., "Weight standardization", 2019.

    After it GroupNorm sees maps of one scale whatever the weights grow to.
    """

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(var + _eps(x))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _eps(x: Tensor) -> float:
    return 1e-3 if x.dtype in (torch.float16, torch.bfloat16) else 1e-5


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel with a scale `g` (1, C, 1, 1) and no shift, (B, C, H, W) -> same."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.g.shape[1:2], self.g.flatten(), None, _eps(x))
        return y.permute(0, 3, 1, 2)


class RMSNorm(nn.Module):
    """Each pixel's channels divided by their root mean square, times `g` (1, C, 1, 1). Zhang and Sennrich, NeurIPS 2019."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        power = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).square().sum(dim=1, keepdim=True)  # (B, 1, H, W)
        return x * (power.clamp_min(1e-24).rsqrt() * x.shape[1] ** 0.5).to(x.dtype) * self.g


class Block(nn.Module):
    """3x3 convolution, norm, x * (scale + 1) + shift where given, SiLU: (B, C, H, W) -> (B, out, H, W)."""

    def __init__(self, channels: int, out_channels: int, convolution, norm):
        super().__init__()
        self.proj = convolution(channels, out_channels, 3, padding=1)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        if scale is not None:
            x = x * (scale + 1) + shift
        return F.silu(x)


class ResidualBlock(nn.Module):
    """Two blocks and a shortcut, x (B, C, H, W) and embedded time (B, E) -> (B, out, H, W). DDPM, appendix B.

    The time sets scale and shift of every channel of the first block: the one place where the network learns how noisy its input is.
    """

    def __init__(self, channels: int, out_channels: int, time_width: int, convolution=nn.Conv2d, norm=RMSNorm):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * out_channels))
        self.block1 = Block(channels, out_channels, convolution, norm)
        self.block2 = Block(out_channels, out_channels, convolution, norm)
        self.res_conv = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)  # each (B, out, 1, 1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


# Weight standardisation asks for GroupNorm after it: the pair that RDDM and DiffUIR use.
StandardizedResidualBlock = partial(ResidualBlock, convolution=StandardizedConv2d, norm=partial(nn.GroupNorm, 8))


def _with_memory(memory: Tensor, tokens: Tensor) -> Tensor:
    """(n, m, d) learned tokens before each image's own (B, n, L, d) -> (B, n, m + L, d)."""
    return torch.cat([memory.expand(len(tokens), -1, -1, -1).to(tokens.dtype), tokens], dim=-2)


class LinearAttention(nn.Module):
    """Attention whose cost grows with the pixels, not their square, (B, C, H, W) -> same. Shen et al., "Efficient attention", WACV 2021.

    softmax(q) (softmax(k)^T v): the keys are summed up in a d x d matrix a head, which every pixel's query then reads.
    `memory` learned keys and values stand beside the pixels'; `average` divides the values by H*W, as the older code does.
    """

    def __init__(self, channels: int, norm=RMSNorm, heads: int = 4, head_width: int = 32, memory: int = 4, average: bool = False):
        super().__init__()
        self.heads, self.average = heads, average
        self.norm = norm(channels)
        if memory:
            self.mem_kv = nn.Parameter(torch.randn(2, heads, head_width, memory))
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * head_width, channels, 1), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(B, H * W, C)  # channels innermost: the 1x1 convolutions are matrix products
        qkv = F.linear(tokens, self.to_qkv.weight.flatten(1)).view(B, H * W, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, n, L, d)
        scale = q.shape[-1] ** -0.5 / (H * W if self.average else 1)
        if hasattr(self, "mem_kv"):
            k, v = (_with_memory(m.transpose(-2, -1), part) for m, part in zip(self.mem_kv, (k, v), strict=True))
        context = k.softmax(dim=-2).transpose(-2, -1) @ v * scale  # (B, n, d, d)
        out = q.softmax(dim=-1) @ context.to(q.dtype)  # (B, n, L, d)
        project, norm = self.to_out
        out = F.linear(out.transpose(1, 2).reshape(B, H * W, -1), project.weight.flatten(1), project.bias)  # (B, L, C)
        return norm(out.view(B, H, W, C).permute(0, 3, 1, 2))


class Attention(nn.Module):
    """Plain multi-head self-attention, one token a pixel, (B, C, H, W) -> same. Vaswani et al. 2017, eq. 1. For the smallest maps."""

    def __init__(self, channels: int, norm=RMSNorm, heads: int = 4, head_width: int = 32, memory: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        if memory:
            self.mem_kv = nn.Parameter(torch.randn(2, heads, memory, head_width))
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(B, 3, self.heads, -1, H * W).transpose(-2, -1)
        q, k, v = qkv.unbind(1)  # each (B, n, L, d)
        if hasattr(self, "mem_kv"):
            k, v = (_with_memory(m, part) for m, part in zip(self.mem_kv, (k, v), strict=True))
        out = F.scaled_dot_product_attention(q, k, v)  # (B, n, L, d)
        return self.to_out(out.transpose(-2, -1).reshape(B, -1, H, W))


class CrossAttention(nn.Module):
    """Pixels ask, a condition answers: x (B, C, H, W), context (B, N, D) -> (B, C, H, W). Rombach et al., "Latent diffusion", 2022, 3.3.

    The last layer starts at zero, so that a network with it begins as the network without it.
    """

    def __init__(self, channels: int, context_width: int, heads: int = 4, head_width: int = 32, norm=RMSNorm):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.to_q = nn.Conv2d(channels, heads * head_width, 1, bias=False)
        self.to_kv = nn.Linear(context_width, 2 * heads * head_width, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, channels, 1)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        B, _, H, W = x.shape
        q = self.to_q(self.norm(x)).reshape(B, self.heads, -1, H * W).transpose(-2, -1)  # (B, n, L, d)
        kv = self.to_kv(context).reshape(B, context.shape[1], 2, self.heads, -1)
        k, v = kv.permute(2, 0, 3, 1, 4).to(q.dtype)  # each (B, n, N, d)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, n, L, d)
        return self.to_out(out.transpose(-2, -1).reshape(B, -1, H, W))


def strided_down(channels: int, out_channels: int) -> nn.Module:
    """(B, C, H, W) -> (B, out, H/2, W/2) by a 4x4 convolution of stride 2."""
    return nn.Conv2d(channels, out_channels, 4, stride=2, padding=1)


def unshuffle_down(channels: int, out_channels: int) -> nn.Module:
    """(B, C, H, W) -> (B, out, H/2, W/2): each 2x2 of pixels becomes four channels, then a 1x1 convolution."""
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, out_channels, 1))


def nearest_up(channels: int, out_channels: int) -> nn.Module:
    """(B, C, H, W) -> (B, out, 2H, 2W): every pixel becomes a 2x2 of itself, then a 3x3 convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, out_channels, 3, padding=1))
