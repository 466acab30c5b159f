"""RDDM's network: a noisy state and the degraded image in, the residual and the noise out. Liu et al., CVPR 2024.

The residual is degraded minus clean, the noise what was added to the state; `diffusion/rddm.py` says what is done with them. The plan
stands in `unet.py`, the blocks in `unet_parts.py` (the older generation: standardised convolutions, GroupNorm, linear attention).

    networks="two"     two U-Nets, each with the state and the degraded image: unet0 the residual, unet1 the noise
    networks="shared"  one encoder, two decoders: the residual's without skips, the other's with them (it predicts residual + noise)
    networks="one"     one U-Net: the residual or the noise, as it was trained

Where the official code goes its own way: the three are called share_encoder 0, 1 and -1, later num_unet 2 and 1; of two U-Nets the
later experiments give each its own time.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from course_lib.models import unet
from course_lib.models.equaliser import Equaliser
from course_lib.models.unet import UNet, check_sides, down_levels, embed_time, read_widths, time_mlp, up_levels
from course_lib.models.unet_parts import Attention, ChannelNorm, LinearAttention, StandardizedResidualBlock, strided_down


def linear_attention(channels: int, depth: int = 0) -> nn.Module:
    """The older linear attention, the same at every depth: no memory keys, values divided by the number of pixels."""
    return LinearAttention(channels, ChannelNorm, memory=0, average=True)


def middle_attention(channels: int) -> nn.Module:
    """The older plain attention at the bottom: no memory keys."""
    return Attention(channels, ChannelNorm, memory=0)


def residual_unet(dim: int, dim_mults: Sequence[int], in_channels: int = 6, out_channels: int = 3, block=StandardizedResidualBlock) -> UNet:
    """One U-Net of RDDM or DiffUIR, (B, 6, H, W) and times (B,) -> (B, 3, H, W)."""
    pieces = dict(block=block, attention=linear_attention, middle=middle_attention, downsample=strided_down)
    return UNet(dim, dim_mults, in_channels, out_channels, **pieces)


class SharedEncoder(nn.Module):
    """One way down, two ways up: (B, 6, H, W) and times (B,) -> residual and residual + noise, each (B, 3, H, W).

    The residual's decoder gets no skips: it sees the image only through the bottom of the U.
    """

    def __init__(self, dim: int, dim_mults: Sequence[int], in_channels: int = 6, out_channels: int = 3, block=StandardizedResidualBlock):
        super().__init__()
        widths = [dim, *(dim * m for m in dim_mults)]
        bottom = widths[-1]

        def timed(channels: int, out: int) -> nn.Module:
            return block(channels, out, 4 * dim)

        self.init_conv = nn.Conv2d(in_channels, dim, 7, padding=3)
        self.time_mlp = time_mlp(dim)
        self.downs = down_levels(widths, timed, linear_attention, strided_down)
        self.mid_block1 = timed(bottom, bottom)
        self.mid_attn = middle_attention(bottom)
        self.mid_block2 = timed(bottom, bottom)
        self.ups_no_skip = up_levels(widths, timed, linear_attention, skips=False)
        self.final_res_block_1 = timed(dim, dim)
        self.final_conv_1 = nn.Conv2d(dim, out_channels, 1)
        self.ups = up_levels(widths, timed, linear_attention)
        self.final_res_block_2 = timed(2 * dim, dim)
        self.final_conv_2 = nn.Conv2d(dim, out_channels, 1)
        self.to(memory_format=torch.channels_last)  # as in UNet

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = start = self.init_conv(x)
        time, skips = embed_time(self.time_mlp, t, x.shape[0]), []
        for level in self.downs:
            x = level.down(x, time, skips)
        x = self.mid_block1(x, time)
        x = x + self.mid_attn(x)
        x = alone = self.mid_block2(x, time)
        for level in self.ups_no_skip:
            alone = level.up(alone, time, None)
        for level in self.ups:
            x = level.up(x, time, skips)
        residual = self.final_conv_1(self.final_res_block_1(alone, time))
        return residual, self.final_conv_2(self.final_res_block_2(torch.cat([x, start], dim=1), time))


class RDDMNet(nn.Module):
    """[state; degraded] (B, 6, H, W) in [-1, 1] and times t (B,) -> (residual, noise), each (B, 3, H, W). Defaults: 72.5 M.

    With networks="one" the result is one tensor. Both sides divide by 2^(levels - 1); others raise ValueError.
    `t` may be a pair of times, one for each U-Net. `block(channels, out, time_width)` may be your own. `equaliser`: one of `equaliser.py`
    beside the residual (or whatever comes first); the official networks have none.
    """

    def __init__(
        self,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        networks: str = "two",
        in_channels: int = 6,
        out_channels: int = 3,
        block=StandardizedResidualBlock,
        equaliser: bool = False,
    ):
        super().__init__()
        if networks not in ("two", "shared", "one"):
            raise ValueError(f"RDDMNet: networks is two, shared or one, got {networks!r}")
        self.config = dict(dim=dim, dim_mults=list(dim_mults), networks=networks, in_channels=in_channels, out_channels=out_channels)
        sizes = (dim, dim_mults, in_channels, out_channels, block)
        if networks == "shared":
            self.shared = SharedEncoder(*sizes)
        else:
            self.unet0 = residual_unet(*sizes)
            if networks == "two":
                self.unet1 = residual_unet(*sizes)
        self.equaliser = Equaliser() if equaliser else None
        self.config |= {"equaliser": True} if equaliser else {}
        self.size_multiple = 2 ** (len(dim_mults) - 1)

    def forward(self, image6: Tensor, t: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor] | Tensor:
        check_sides("RDDMNet", image6, self.size_multiple)
        t_residual, t_noise = t if isinstance(t, (tuple, list)) else (t, t)
        if self.config["networks"] == "shared":
            residual, *noise = self.shared(image6, t_residual)
        else:
            residual, noise = self.unet0(image6, t_residual), []
            if self.config["networks"] == "two":
                noise = [self.unet1(image6, t_noise)]
        if self.equaliser is not None:
            residual = residual + self.equaliser(image6[:, 3:], t_residual)
        return (residual, *noise) if noise else residual


TO_OURS = (*unet.WRAPPED_TO_OURS, (r"^(?!unet\d\.)", "shared."))
TO_OFFICIAL = ((r"^shared\.", ""), *unet.WRAPPED_TO_OFFICIAL)


def read_config(state: Mapping[str, Tensor]) -> dict:
    """The arguments of the network that an official state dict belongs to. Raises KeyError where it is another's."""
    shared = "final_conv_1.weight" in state
    networks = "shared" if shared else "two" if any(key.startswith("unet1.") for key in state) else "one"
    final = state["final_conv_1.weight" if shared else "unet0.final_conv.weight"]
    return dict(read_widths(state, "" if shared else "unet0."), networks=networks, out_channels=final.shape[0])
