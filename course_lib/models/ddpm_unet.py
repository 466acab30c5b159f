"""The DDPM U-Net: a noisy image and its time in, the noise (or v, or the clean image) out. Ho et al., NeurIPS 2020, appendix B.

The plan stands in `unet.py`, the blocks in `unet_parts.py`. This is the later generation of the design: RMSNorm, attention with
memory keys that is linear everywhere but at the deepest level, halving by moving pixels into channels.

Where it is not the paper's network (we follow the code whose weights it loads):
- The paper attends at 16x16 alone and has no memory keys; here every level attends, most of them linearly.
- The time scales and shifts each channel; in the paper it is added.
- The paper's network drops out features; here there is no dropout.

Our own, absent unless asked for: `context_width` gives the deepest level and the middle a cross-attention to a condition.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.models.unet import UNet, check_sides, read_widths
from course_lib.models.unet_parts import Attention, CrossAttention, LinearAttention, ResidualBlock, SinusoidalEmbedding, unshuffle_down


class DDPMUNet(UNet):
    """x_t (B, in, H, W) and times t (B,) -> (B, out, H, W). Defaults: the code's own size, 35.7 M.

    `model(x, t, concat=..., context=...)`: `concat` (B, C', H, W) joins x's channels (count them in `in_channels`), `context` (B, N, D)
    or (B, D) is attended to (D = `context_width`). `full_attention`: levels that attend plainly, all pixels to all, not linearly.
    `block(channels, out, time_width)`, `attention(channels)` and `embedding(dim)` may be your own.
    Sides divide by 2^(levels - 1); raises ValueError for others.
    """

    def __init__(
        self,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        in_channels: int = 3,
        out_channels: int = 3,
        init_dim: int | None = None,
        heads: int = 4,
        head_width: int = 32,
        memory: int = 4,
        full_attention: Sequence[bool] | None = None,
        context_width: int | None = None,
        block=ResidualBlock,
        attention=None,
        embedding=SinusoidalEmbedding,
    ):
        depth = len(dim_mults)
        full = [level == depth - 1 for level in range(depth)] if full_attention is None else [bool(flag) for flag in full_attention]
        if len(full) != depth:
            raise ValueError(f"DDPMUNet has {depth} levels; got full_attention={list(full_attention)}")
        sizes = dict(heads=heads, head_width=head_width, memory=memory)

        def attend(channels: int, level: int) -> nn.Module:
            return attention(channels) if attention else (Attention if full[level] else LinearAttention)(channels, **sizes)

        def cross(channels: int, level: int) -> nn.Module | None:
            return CrossAttention(channels, context_width, heads, head_width) if level >= depth - 1 else None

        super().__init__(
            dim, dim_mults, in_channels, out_channels, init_dim, block=block, attention=attend, middle=partial(Attention, **sizes),
            downsample=unshuffle_down, cross=cross if context_width else None, embedding=embedding,
        )  # fmt: skip
        self.size_multiple = 2 ** (depth - 1)
        self.config = dict(
            dim=dim, dim_mults=list(dim_mults), in_channels=in_channels, out_channels=out_channels, init_dim=init_dim, heads=heads,
            head_width=head_width, memory=memory, full_attention=full, context_width=context_width,
        )  # fmt: skip

    def forward(self, x: Tensor, t: Tensor, *, concat: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        check_sides("DDPMUNet", x, self.size_multiple)
        if context is not None:
            if not self.config["context_width"]:
                raise ValueError("DDPMUNet: a context needs a network with context_width=...")
            context = context[:, None] if context.ndim == 2 else context  # one vector an image: a context of one token
        return super().forward(x if concat is None else torch.cat([x, concat], dim=1), t, context)


def read_config(state: Mapping[str, Tensor]) -> dict:
    """The arguments of the network that an official state dict belongs to. Raises KeyError where it is another's."""
    config = read_widths(state)
    init_dim = state["init_conv.weight"].shape[0]
    _, heads, memory, head_width = state["mid_attn.mem_kv"].shape
    return dict(
        config,
        out_channels=state["final_conv.weight"].shape[0],
        init_dim=None if init_dim == config["dim"] else init_dim,
        heads=heads,
        head_width=head_width,
        memory=memory,
        full_attention=[f"downs.{level}.2.to_out.weight" in state for level in range(len(config["dim_mults"]))],
    )
