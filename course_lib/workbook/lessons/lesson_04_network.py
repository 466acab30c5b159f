"""Exercises 04-d and 04-e, a network that knows the time: inputs, references, points, and the mistakes that the checks recognise."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.unet_parts import ResidualBlock, SinusoidalEmbedding
from course_lib.workbook.adapters import call_plugged
from course_lib.workbook.exercises import Exercise, Mistake
from course_lib.workbook.lessons.lesson_04_calls import call_embedding
from course_lib.workbook.lessons.lesson_04_forward import seeded

# ---- 04-d: the time as a vector --------------------------------------------------------------------------------------


def _inputs_d(seed: int) -> dict:
    g = seeded(seed, 44)
    whole = torch.randint(0, 1000, (5 + seed,), generator=g)
    whole[:3] = torch.tensor([0, 1, 999])
    return {
        "whole times": {"init": [8 + 2 * seed], "t": whole},
        # as many times as frequencies
        "another width": {"init": [32], "t": torch.randint(0, 200, (16,), generator=g), "any device": True},
        "times that are not whole": {"init": [12], "t": 300 * torch.rand(4, generator=g)},
    }


def _embed_with(
    frequencies=lambda half: torch.exp(-math.log(10000) * torch.arange(half) / (half - 1)),
    join=lambda angles: torch.cat([angles.sin(), angles.cos()], -1),
    time=lambda t: t,
):
    """SinusoidalEmbedding with one step replaced."""

    class Variant(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.dim = dim

        def forward(self, t):
            return join(time(t)[:, None] * frequencies(self.dim // 2).to(t.device))

    return Variant


def _divided(number):
    return lambda half: torch.exp(-math.log(10000) * torch.arange(half) / number(half))


_WHOLE = "The times were rounded to whole numbers. They need not be whole."


def _line(last):
    return lambda half: torch.exp(-math.log(last) * torch.arange(half) / (half - 1))


EXERCISE_D = Exercise(
    "04-d", "The time as a vector", ("TimeEmbedding",), {"whole times": 1, "another width": 0.5, "times that are not whole": 0.5},
    _inputs_d,
    call_embedding, SinusoidalEmbedding,
    (
        Mistake("cosines first", _embed_with(join=lambda a: torch.cat([a.cos(), a.sin()], -1)),
                "The cosines come first. The order is sines, then cosines: trained weights count on it."),
        Mistake("interleaved", _embed_with(join=lambda a: torch.stack([a.sin(), a.cos()], -1).flatten(-2)),
                "Sines and cosines alternate, as in the Transformer's paper. Here all sines come first, then all cosines."),
        Mistake("sines only", _embed_with(join=lambda a: torch.cat([a.sin(), a.sin()], -1)), "The second half must be cosines."),
        Mistake("cosines only", _embed_with(join=lambda a: torch.cat([a.cos(), a.cos()], -1)), "The first half must be sines."),
        Mistake("divided by half", _embed_with(_divided(lambda half: half)),
                "The last frequency is not 1/10000: with indices 0 ... dim/2 - 1, divide the exponent by dim/2 - 1."),
        Mistake("divided by the width", _embed_with(_divided(lambda half: 2 * half)),
                "The exponent was divided by dim; the frequencies must end at 1/10000, so divide by dim/2 - 1."),
        Mistake("divided by the width less one", _embed_with(_divided(lambda half: 2 * half - 1)),
                "The exponent was divided by dim - 1; there are dim/2 frequencies, so divide by dim/2 - 1."),
        Mistake("begins late", _embed_with(lambda half: torch.exp(-math.log(10000) * torch.arange(1, half + 1) / half)),
                "The first frequency is 1: the exponents begin at 0."),
        Mistake("a thousand", _embed_with(_line(1000)), "The frequencies end at 1/1000; here it is 1/10000."),
        Mistake("growing", _embed_with(lambda half: _line(10000)(half).reciprocal()),
                "The frequencies grow to 10000: the minus in the exponent is missing."),
        Mistake("slow first", _embed_with(lambda half: _line(10000)(half).flip(0)), "The order is turned round: the first frequency is 1."),
        Mistake("a straight line", _embed_with(lambda half: torch.linspace(1, 1e-4, half)),
                "The frequencies lie on a straight line. Their *logarithms* do: each is the same fraction of the one before."),
        Mistake("base 2", _embed_with(lambda half: torch.pow(2.0, -math.log(10000) * torch.arange(half) / (half - 1))),
                "The logarithm to base e asks for exp, not for a power of 2."),
        Mistake("base 10", _embed_with(lambda half: torch.exp(-math.log10(10000) * torch.arange(half) / (half - 1))),
                "exp undoes the natural logarithm, math.log; yours is to base 10."),
        Mistake("whole turns", _embed_with(lambda half: 2 * math.pi * _line(10000)(half)), "There is a factor 2 pi too many."),
        Mistake("share of T", _embed_with(time=lambda t: t / 1000), "The time was divided by T. It is used as it comes: 0, 1, 2, ..."),
        Mistake("thousandfold", _embed_with(time=lambda t: 1000 * t), "The time was multiplied by 1000. It is used as it comes."),
        Mistake("counted from 1", _embed_with(time=lambda t: t + 1), "1 was added to the time. It is used as it comes: 0, 1, 2, ..."),
        Mistake("rounded", _embed_with(time=lambda t: t.long()), _WHOLE),
        Mistake("rounded to the nearest", _embed_with(time=lambda t: t.round()), _WHOLE),
        Mistake("angles", _embed_with(join=lambda a: torch.cat([a, a], -1)), "These are the angles: take their sines and cosines."),
        Mistake("scaled", _embed_with(join=lambda a: torch.cat([a.sin(), a.cos()], -1) * a.shape[-1] ** -0.5),
                "The vector was scaled. Its values are plain sines and cosines, between -1 and 1."),
    ),
    tolerance=5e-4,
)  # fmt: skip

# ---- 04-e: a block that is told the time -----------------------------------------------------------------------------


def _weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Weights large enough that every part of the module shows in its output."""
    out = {}
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=g)
        out[name] = 1.2 + 0.5 * values if name.endswith("norm.g") else values * (1.2 / max(1, parameter[0].numel()) ** 0.5)
    return out


def _inputs_e(seed: int) -> dict:
    g = seeded(seed, 45)
    cases = {}
    for name, (C, out, E), (B, H, W) in (
        ("other channels out", (4, 6, 10), (2, 5, 4 + seed)),
        ("as many channels out", (4, 4, 6), (3, 4, 4)),
        ("fewer channels out, one image", (6, 3, 3), (1, 3, 7)),
    ):
        x = torch.randn(B, C, H, W, generator=g).contiguous(memory_format=torch.channels_last)  # as the U-Net hands it over
        cases[name] = {"init": [C, out, E], "weights": _weights(ResidualBlock(C, out, E), g), "x": x}
        cases[name] |= {"more": {"time": torch.randn(B, E, generator=g)}, "advice": "the table above says what each part is made of"}
    return cases


def _block_with(
    time=lambda s, time: s.mlp(time),
    split=lambda y: y[:, :, None, None].chunk(2, dim=1),
    first=lambda s, x, scale, shift: s.block1(x, scale, shift),
    second=lambda s, y, scale, shift: s.block2(y),
    join=lambda s, y, x: y + s.res_conv(x),
):
    """ResidualBlock with one step replaced."""

    class Variant(ResidualBlock):
        def forward(self, x, time_):
            scale, shift = split(time(self, time_))
            return join(self, second(self, first(self, x, scale, shift), scale, shift), x)

    return Variant


def _by_hand(block, x, change):
    return F.silu(change(block.norm(block.proj(x))))


def _without_bias(layer, x):
    return F.conv2d(x, layer.weight) if isinstance(layer, nn.Conv2d) else x


_PLUS_ONE = "The factor is scale + 1, so that a scale of 0 changes nothing: leave it to Block, which is given scale and shift."

EXERCISE_E = Exercise(
    "04-e", "A block that is told the time", ("TimeResidualBlock",),
    {"other channels out": 1, "as many channels out": 1, "fewer channels out, one image": 1}, _inputs_e, call_plugged, ResidualBlock,
    (
        Mistake("shift first", _block_with(split=lambda y: y[:, :, None, None].chunk(2, dim=1)[::-1]),
                "Scale and shift are swapped: the first half of the 2 * out numbers is the scale."),
        Mistake("every other", _block_with(split=lambda y: (y[:, ::2, None, None], y[:, 1::2, None, None])),
                "Scale and shift were taken alternately. The first half is the scale, the second the shift: chunk(2, dim=1)."),
        Mistake("time ignored", _block_with(first=lambda s, x, scale, shift: s.block1(x)),
                "The time has no effect: give scale and shift to the first block."),
        Mistake("second block", _block_with(first=lambda s, x, c, h: s.block1(x), second=lambda s, y, c, h: s.block2(y, c, h)),
                "Scale and shift went to the second block; they belong to the first."),
        Mistake("both blocks", _block_with(second=lambda s, y, c, h: s.block2(y, c, h)),
                "Scale and shift went to both blocks; only the first has them."),
        Mistake("shift alone", _block_with(first=lambda s, x, c, h: s.block1(x, torch.zeros_like(c), h)), "The scale has no effect."),
        Mistake("scale alone", _block_with(first=lambda s, x, c, h: s.block1(x, c, torch.zeros_like(h))), "The shift has no effect."),
        Mistake("no one", _block_with(first=lambda s, x, c, h: _by_hand(s.block1, x, lambda y: y * c + h)), _PLUS_ONE),
        Mistake("one twice", _block_with(first=lambda s, x, c, h: s.block1(x, c + 1, h)),
                "1 was added to the scale twice: Block does it for you."),
        Mistake("scaled after", _block_with(first=lambda s, x, c, h: s.block1(x) * (c + 1) + h),
                "Scale and shift came after the SiLU; they come before it: give them to the block."),
        Mistake("scaled before", _block_with(first=lambda s, x, c, h: F.silu(s.block1.norm(s.block1.proj(x) * (c + 1) + h))),
                "Scale and shift came before the norm, which undoes much of them; they come after it: give them to the block."),
        Mistake("shifted first", _block_with(first=lambda s, x, c, h: _by_hand(s.block1, x, lambda y: (y + h) * (c + 1))),
                "The shift came before the scale: x * (scale + 1) + shift."),
        Mistake("no activation of the time", _block_with(time=lambda s, t: s.mlp[1](t)),
                "The SiLU before the linear layer of the time is missing: self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(...))."),
        Mistake("activation after", _block_with(time=lambda s, t: F.silu(s.mlp[1](t))),
                "The SiLU came after the linear layer, so no scale could be negative: first SiLU, then nn.Linear."),
        Mistake("activation twice", _block_with(time=lambda s, t: F.silu(s.mlp(t))),
                "There is a SiLU after the linear layer as well; only the one before it belongs there."),
        Mistake("gelu", _block_with(time=lambda s, t: s.mlp[1](F.gelu(t))), "The activation of the time is SiLU, not GELU."),
        Mistake("relu", _block_with(time=lambda s, t: s.mlp[1](F.relu(t))), "The activation of the time is SiLU, not ReLU."),
        Mistake("first image's time", _block_with(time=lambda s, t: s.mlp(t[:1]).expand(len(t), -1)),
                "All images got the first one's time: image b has row b."),
        Mistake("mean time", _block_with(time=lambda s, t: s.mlp(t.mean(0, keepdim=True)).expand(len(t), -1)),
                "All images got one time: image b has row b."),
        Mistake("time detached", _block_with(time=lambda s, t: s.mlp(t.detach())),
                "The values are right, but no gradient reaches the time, so time_mlp would never learn: do not detach it."),
        Mistake("scale detached", _block_with(time=lambda s, t: s.mlp(t).detach()),
                "The values are right, but no gradient reaches mlp and what lies before it: do not detach scale and shift."),
        Mistake("x detached", _block_with(first=lambda s, x, c, h: s.block1(x.detach(), c, h)),
                "The values are right, but no gradient passes through the two blocks: do not detach x."),
        Mistake("no shortcut", _block_with(join=lambda s, y, x: y), "The shortcut is missing: + res_conv(x)."),
        Mistake("shortcut of the first block", _block_with(second=lambda s, y, c, h: s.block2(y) + y, join=lambda s, y, x: y),
                "The shortcut begins after the first block; it begins at x."),
        Mistake("both shortcuts", _block_with(second=lambda s, y, c, h: s.block2(y) + y),
                "There is a second shortcut, around block2; only the one from x belongs there."),
        Mistake("shortcut twice", _block_with(join=lambda s, y, x: y + 2 * s.res_conv(x)), "The shortcut was added twice."),
        Mistake("shortcut subtracted", _block_with(join=lambda s, y, x: y - s.res_conv(x)), "The shortcut is added, not subtracted."),
        Mistake("averaged", _block_with(join=lambda s, y, x: (y + s.res_conv(x)) / 2), "The sum was halved; it is a plain sum."),
        Mistake("divided by the root", _block_with(join=lambda s, y, x: (y + s.res_conv(x)) / 2**0.5),
                "The sum was divided by sqrt(2), as some code does; here it is a plain sum."),
        Mistake("activation at the end", _block_with(join=lambda s, y, x: F.silu(y + s.res_conv(x))),
                "There is an activation after the sum; none belongs there."),
        Mistake("sum before the activation",
                _block_with(second=lambda s, y, c, h: s.block2.norm(s.block2.proj(y)), join=lambda s, y, x: F.silu(y + s.res_conv(x))),
                "The shortcut was added before the last SiLU: it is added to what block2 gives."),
        Mistake("shortcut without bias", _block_with(join=lambda s, y, x: y + _without_bias(s.res_conv, x)),
                "The bias of res_conv is not used: call the layer."),
        Mistake("one block", _block_with(second=lambda s, y, c, h: y), "The second block is not used."),
        Mistake("first block twice", _block_with(second=lambda s, y, c, h: s.block2(s.block2(y))), "block2 ran twice."),
        Mistake("blocks swapped", _block_with(first=lambda s, x, c, h: s.block2(x, c, h), second=lambda s, y, c, h: s.block1(y)),
                "The two blocks are swapped: block1 comes first, with the time."),
        Mistake("time added", _block_with(first=lambda s, x, c, h: s.block1(x) + h),
                "The second half was added after the block. Scale and shift work inside it, before the SiLU."),
    ),
    allowed_imports=("torch", "einops", "math", "course_lib"),
    keep_dtype=True,
)  # fmt: skip
