"""The plan that the diffusion U-Nets share, and how their official keys and widths are read.

    x (B, in, H, W)                                     t (B,) -> time_mlp -> (B, E), read by every residual block
      | init_conv 7x7                                                     final_res_block, final_conv 1x1 -> (B, out, H, W)
    downs.0  C0  H     first, second, attn -- two skips -------------------------> first, second, attn  ups[-1], + init_conv's skip
      | halve                                                                      | double
      downs.1  C1  H/2   first, second, attn -- two skips ----> first, second, attn  ups[-2]
        | ...  (the deepest level does not halve)              | ...
        mid_block1, mid_attn, mid_block2  C_last

Widths: C0 = dim (or `init_dim`), then dim times each of `dim_mults`. E = 4 dim. `first`, `second`: residual blocks with the time.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from course_lib.models.unet_parts import SinusoidalEmbedding, nearest_up


def time_mlp(dim: int, embedding=SinusoidalEmbedding) -> nn.Sequential:
    """Time (B,) -> (B, 4 dim): `embedding(dim)`, then two linear layers."""
    return nn.Sequential(embedding(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))


class Level(nn.Module):
    """One level, either way: two residual blocks, attention, then halve, double or keep the side."""

    def __init__(self, first: nn.Module, second: nn.Module, attn: nn.Module, resample: nn.Module, cross: nn.Module | None = None):
        super().__init__()
        self.first, self.second, self.attn, self.resample = first, second, attn, resample
        if cross is not None:
            self.cross = cross

    def attend(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = x + self.attn(x)
        return x if context is None or not hasattr(self, "cross") else x + self.cross(x, context)

    def down(self, x: Tensor, time: Tensor, skips: list[Tensor], context: Tensor | None = None) -> Tensor:
        x = self.first(x, time)
        skips.append(x)
        x = self.attend(self.second(x, time), context)
        skips.append(x)
        return self.resample(x)

    def up(self, x: Tensor, time: Tensor, skips: list[Tensor] | None, context: Tensor | None = None) -> Tensor:
        for block in (self.first, self.second):
            x = block(x if skips is None else torch.cat([x, skips.pop()], dim=1), time)
        return self.resample(self.attend(x, context))


def down_levels(widths: Sequence[int], block, attention, downsample, cross=None) -> nn.ModuleList:
    """The way down. `block(channels, out)`, `attention(channels, depth)`, `downsample(channels, out)`, `cross(channels, depth)`."""
    last = len(widths) - 2
    return nn.ModuleList(
        Level(
            block(C, C),
            block(C, C),
            attention(C, depth),
            downsample(C, out) if depth < last else nn.Conv2d(C, out, 3, padding=1),
            cross and cross(C, depth),
        )
        for depth, (C, out) in enumerate(zip(widths, widths[1:], strict=False))
    )


def up_levels(widths: Sequence[int], block, attention, cross=None, skips: bool = True) -> nn.ModuleList:
    """The way up, deepest level first; `skips=False`: blocks that get no features from the way down."""
    levels = []
    for depth, (out, C) in reversed(list(enumerate(zip(widths, widths[1:], strict=False)))):
        incoming = C + out if skips else C
        resample = nearest_up(C, out) if depth else nn.Conv2d(C, out, 3, padding=1)
        levels.append(Level(block(incoming, C), block(incoming, C), attention(C, depth), resample, cross and cross(C, depth)))
    return nn.ModuleList(levels)


class UNet(nn.Module):
    """x (B, in, H, W) and times t (B,) -> (B, out, H, W); both sides divide by 2^(levels - 1). DDPM, appendix B.

    `block(channels, out, time_width)`: (x, time) -> x. `attention(channels, depth)`: x -> x, what it adds. `middle(channels)`: the same at
    the bottom. `cross(channels, depth)`: (x, context) -> x or None. `downsample(channels, out)`, `embedding(dim)`: see unet_parts.
    """

    def __init__(
        self,
        dim: int,
        dim_mults: Sequence[int],
        in_channels: int,
        out_channels: int,
        init_dim: int | None = None,
        *,
        block: Callable,
        attention: Callable,
        middle: Callable,
        downsample: Callable,
        cross: Callable | None = None,
        embedding=SinusoidalEmbedding,
    ):
        super().__init__()
        widths = [init_dim or dim, *(dim * m for m in dim_mults)]
        bottom = widths[-1]

        def timed(channels: int, out: int) -> nn.Module:
            return block(channels, out, 4 * dim)

        self.init_conv = nn.Conv2d(in_channels, widths[0], 7, padding=3)
        self.time_mlp = time_mlp(dim, embedding)
        self.downs = down_levels(widths, timed, attention, downsample, cross)
        self.mid_block1 = timed(bottom, bottom)
        self.mid_attn = middle(bottom)
        if cross is not None:
            self.mid_cross = cross(bottom, len(dim_mults))
        self.mid_block2 = timed(bottom, bottom)
        self.ups = up_levels(widths, timed, attention, cross)
        self.final_res_block = timed(2 * widths[0], widths[0])
        self.final_conv = nn.Conv2d(widths[0], out_channels, 1)
        self.to(memory_format=torch.channels_last)  # the maps then lie so too: norms and 1x1 convolutions read memory in order

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        x = start = self.init_conv(x)  # (B, C0, H, W)
        time, skips = embed_time(self.time_mlp, t, x.shape[0]), []
        for level in self.downs:
            x = level.down(x, time, skips, context)
        x = self.mid_block1(x, time)
        x = x + self.mid_attn(x)
        if context is not None:
            x = x + self.mid_cross(x, context)
        x = self.mid_block2(x, time)
        for level in self.ups:
            x = level.up(x, time, skips, context)
        x = self.final_res_block(torch.cat([x, start], dim=1), time)
        return self.final_conv(x)


def embed_time(mlp: nn.Sequential, t: Tensor, batch: int) -> Tensor:
    """Times (B,), (1,) or a single number -> (B, E), in the precision of the weights. Raises ValueError for another number of times."""
    t = torch.as_tensor(t, device=mlp[1].weight.device)
    if t.ndim > 1 or t.numel() not in (1, batch):
        raise ValueError(f"one time for each of the {batch} images, or one for all; got {tuple(t.shape)}")
    embedding = mlp[0](t.reshape(-1).expand(batch))
    return mlp[1:](embedding.to(mlp[1].weight.dtype))


def check_sides(name: str, x: Tensor, multiple: int) -> None:
    """Raises ValueError where a side of x (B, C, H, W) does not divide by `multiple`, saying what to do."""
    height, width = x.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"{name} needs sides that divide by {multiple}; got {height}x{width}. "
            f"Use course_lib.images.pad_to_multiple(image, {multiple}) and crop the result."
        )


# Official keys. A level is a list there: 0 and 1 the residual blocks, 2 the attention, 3 the way to the next level.

_PLACES = ((0, "first"), (1, "second"), (2, "attn"), (3, "resample"))
TO_OURS = tuple((rf"\b((?:downs|ups|ups_no_skip)\.\d+)\.{place}\.", rf"\1.{name}.") for place, name in _PLACES)
TO_OFFICIAL = tuple((rf"\b((?:downs|ups|ups_no_skip)\.\d+)\.{name}\.", rf"\1.{place}.") for place, name in _PLACES)

# The older generation wraps an attention twice: residual(fn) around norm and fn.
WRAPPED_TO_OURS = (
    (r"\b((?:downs|ups|ups_no_skip)\.\d+\.2|mid_attn)\.fn\.fn\.", r"\1."),
    (r"\b((?:downs|ups|ups_no_skip)\.\d+\.2|mid_attn)\.fn\.norm\.", r"\1.norm."),
    *TO_OURS,
)
WRAPPED_TO_OFFICIAL = (
    *TO_OFFICIAL,
    (r"\b((?:downs|ups|ups_no_skip)\.\d+\.2|mid_attn)\.norm\.", r"\1.fn.norm."),
    (r"\b((?:downs|ups|ups_no_skip)\.\d+\.2|mid_attn)\.(?!fn\.)", r"\1.fn.fn."),
)


def read_widths(state: Mapping[str, Tensor], prefix: str = "") -> dict:
    """dim, dim_mults and in_channels from an official state dict whose U-Net keys begin with `prefix`. Raises KeyError."""
    dim = state[f"{prefix}time_mlp.1.weight"].shape[1]
    widths = []
    while any(key.startswith(f"{prefix}downs.{len(widths)}.") for key in state):
        level = f"{prefix}downs.{len(widths)}.3."
        widths.append(next(state[key] for key in (f"{level}weight", f"{level}1.weight") if key in state).shape[0])
    if not widths or any(width % dim for width in widths):
        raise KeyError(f"the widths {widths} are no multiples of {dim}")
    return dict(dim=dim, dim_mults=[width // dim for width in widths], in_channels=state[f"{prefix}init_conv.weight"].shape[1])
