"""Restormer and PromptIR in their plain form, laid out as the papers draw them: every map in (B, C, H, W), attention over a reshaped copy.

For comparison only: `course bench` measures against it and the tests hold the fast layers equal to it. The parameter
names are those of `restormer.py` and `promptir.py`, so one state dict fits both.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course_lib.models.layers import GDFN, MDTA
from course_lib.models.promptir import PromptGenBlock, PromptIR
from course_lib.models.restormer import Restormer


class PlainLayerNorm(nn.Module):
    """Mean and variance over channels, on a (B, HW, C) copy."""

    def __init__(self, channels: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = rearrange(x, "b c h w -> b (h w) c")
        std = torch.sqrt(tokens.var(-1, keepdim=True, unbiased=False) + 1e-5)
        if self.bias is None:
            tokens = tokens / std * self.weight
        else:
            tokens = (tokens - tokens.mean(-1, keepdim=True)) / std * self.weight + self.bias
        return rearrange(tokens, "b (h w) c -> b c h w", h=height, w=width)


class PlainMDTA(MDTA):
    """q and k normalised along the pixels, a d x d map a head, then the projection. Restormer, eq. 1. Parameters as in MDTA."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (rearrange(part, "b (n d) h w -> b n d (h w)", n=self.heads) for part in (q, k, v))
        attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        out = attention.softmax(dim=-1) @ v
        return self.project_out(rearrange(out, "b n d (h w) -> b (n d) h w", h=height, w=width))


class PlainGDFN(GDFN):
    """1x1 up, 3x3 depthwise, gelu of one half times the other, 1x1 down. Restormer, eq. 2. Parameters as in GDFN."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class PlainPromptGenBlock(PromptGenBlock):
    """A copy of all components for every image, each times its weight, then the sum. PromptIR, eq. 2. Parameters as in PromptGenBlock."""

    def forward(self, x: Tensor) -> Tensor:
        weights = self.softmax(self.linear_layer(x.mean(dim=(-2, -1))))
        components = self.prompt_param.repeat(len(x), 1, 1, 1, 1)
        prompt = (rearrange(weights, "b n -> b n 1 1 1") * components).sum(dim=1)
        return self.conv3x3(F.interpolate(prompt, x.shape[-2:], mode="bilinear", align_corners=False))


def plain_norms_and_memory(model: nn.Module) -> None:
    """Put PlainLayerNorm in the place of every layer norm, and all weights in the plain order of memory."""
    for module in list(model.modules()):
        for name in ("norm1", "norm2", "norm3"):
            if hasattr(module, name):
                norm = getattr(module, name)
                setattr(module, name, PlainLayerNorm(len(norm.weight), norm.bias is not None))
    model.to(memory_format=torch.contiguous_format)


class PlainRestormer(Restormer):
    """Restormer with the plain pieces and maps that stay (B, C, H, W) in memory; same arguments, same results."""

    def __init__(self, **config):
        super().__init__(**config, attention=PlainMDTA, feed_forward=PlainGDFN)
        plain_norms_and_memory(self)

    def _as_stored(self, image: Tensor) -> Tensor:
        return image.contiguous()


class PlainPromptIR(PromptIR):
    """PromptIR with the plain pieces and maps that stay (B, C, H, W) in memory; same arguments, same results."""

    def __init__(self, **config):
        super().__init__(**config, attention=PlainMDTA, feed_forward=PlainGDFN, prompt=PlainPromptGenBlock)
        plain_norms_and_memory(self)

    def _as_stored(self, image: Tensor) -> Tensor:
        return image.contiguous()
