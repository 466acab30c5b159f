"""Answers to 04-e: more wrong ones. Layers as they must not be, and modules that cannot be trained or called as asked."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.unet_parts import Block, ChannelNorm, RMSNorm, StandardizedConv2d

from .ex_04_e import ANSWERS, Given, Whole

mutant = ANSWERS.mutant


@mutant("SiLU|mlp|order|missing")
class LinearBeforeTheSilu(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp = nn.Sequential(nn.Linear(time_width, 2 * out_channels), nn.SiLU())


@mutant()
class ReluForSilu(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp[0] = nn.ReLU()


@mutant()
class GeluForSilu(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp[0] = nn.GELU()


@mutant("bias")
class TimeWithoutBias(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp[1] = nn.Linear(time_width, 2 * out_channels, bias=False)


@mutant("shape|mlp")
class ScaleAndShiftOfTheInput(Whole):
    """2 * channels: right where the width stays."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * channels))


@mutant("shape|mlp")
class OneNumberAChannel(Given):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, out_channels))

    def forward(self, x, time):
        return self.block2(self.block1(x) + self.mlp(time)[:, :, None, None]) + self.res_conv(x)


@mutant("shape|mlp|time_width")
class TimeWidthFourTimesTheChannels(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, 4 * channels)


@mutant("res_conv|belong")
class ShortcutAlwaysAConvolution(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.res_conv = nn.Conv2d(channels, out_channels, 1)


@mutant("res_conv|bias")
class ShortcutWithoutBias(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        if channels != out_channels:
            self.res_conv = nn.Conv2d(channels, out_channels, 1, bias=False)


@mutant("res_conv|shape")
class ShortcutOfThreePixels(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        if channels != out_channels:
            self.res_conv = nn.Conv2d(channels, out_channels, 3, padding=1)


@mutant("res_conv|missing")
class ShortcutOnlyWhereChannelsGrow(Given):
    """On the way up the channels shrink."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.res_conv = nn.Conv2d(channels, out_channels, 1) if channels < out_channels else nn.Identity()

    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block2(self.block1(x, scale, shift))
        return y + self.res_conv(x)[:, : y.shape[1]]


@mutant("shape|block1|block2")
class WidthChangesInTheSecondBlock(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.block1 = Block(channels, channels, nn.Conv2d, RMSNorm)
        self.block2 = Block(channels, out_channels, nn.Conv2d, RMSNorm)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * channels))


@mutant()
class StandardisedConvolutions(Whole):
    """RDDM's; the parameters have the same names and shapes."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.block1 = Block(channels, out_channels, StandardizedConv2d, RMSNorm)
        self.block2 = Block(out_channels, out_channels, StandardizedConv2d, RMSNorm)


@mutant()
class ChannelNorms(Whole):
    """Names and shapes are those of RMSNorm, but the mean is taken away."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.block1 = Block(channels, out_channels, nn.Conv2d, ChannelNorm)
        self.block2 = Block(out_channels, out_channels, nn.Conv2d, ChannelNorm)


@mutant("norm|missing")
class GroupNorms(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.block1 = Block(channels, out_channels, nn.Conv2d, lambda width: nn.GroupNorm(1, width))
        self.block2 = Block(out_channels, out_channels, nn.Conv2d, lambda width: nn.GroupNorm(1, width))


@mutant("missing|belong|block")
class OtherNames(nn.Module):
    def __init__(self, channels, out_channels, time_width):
        super().__init__()
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * out_channels))
        self.first = Block(channels, out_channels, nn.Conv2d, RMSNorm)
        self.second = Block(out_channels, out_channels, nn.Conv2d, RMSNorm)
        self.shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x, time):
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        return self.second(self.first(x, scale, shift)) + self.shortcut(x)


@mutant("missing|block2")
class OneBlockForBoth(Given):
    """block2 is block1, where the width stays."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        if channels == out_channels:
            self.block2 = self.block1

    forward = Whole.forward


@mutant("missing|list|register|block")
class BlocksInAList(Given):
    """Hidden from `parameters()`: they never learn."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.hidden = [self.block1, self.block2]
        del self.block1, self.block2

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.hidden[1](self.hidden[0](x, scale, shift)) + self.res_conv(x)


@mutant("frozen|train")
class ShortcutFrozen(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.res_conv.requires_grad_(False)


@mutant("frozen|train")
class TimeFrozen(Whole):
    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp.requires_grad_(False)


@mutant("gradient|train")
class TimeDetached(Whole):
    def forward(self, x, time):
        return super().forward(x, time.detach())


@mutant("gradient|train")
class ScaleTakenAsData(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale.data, shift)) + self.res_conv(x)


@mutant("gradient|train")
class ShortcutDetached(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x).detach()


@mutant("gradient|train")
class UnderNoGrad(Whole):
    @torch.no_grad()
    def forward(self, x, time):
        return super().forward(x, time)


@mutant("every time|random|dropout")
class WithDropout(Given):
    """As in the paper."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(F.dropout(self.block1(x, scale, shift), 0.1, self.training)) + self.res_conv(x)


@mutant()
class TimeInTrainingOnly(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block1(x, scale, shift) if self.training else self.block1(x)
        return self.block2(y) + self.res_conv(x)


@mutant("in.place")
class PictureOverwritten(Whole):
    def forward(self, x, time):
        y = super().forward(x, time)
        x.data.zero_()
        return y


@mutant("in.place")
class TimeOverwritten(Given):
    """The SiLU writes into the time that the other blocks still read."""

    def forward(self, x, time):
        time.data.copy_(F.silu(time.data))
        scale, shift = self.mlp[1](time)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant("in.place|leaf")
class SiluInPlace(Whole):
    """nn.SiLU(inplace=True) does just that."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__(channels, out_channels, time_width)
        self.mlp[0] = nn.SiLU(inplace=True)


@mutant("float64|dtype|double")
class DoublePrecision(Whole):
    def forward(self, x, time):
        return super().forward(x, time).double()


@mutant()
class SquarePicturesOnly(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        x = x.reshape(*x.shape[:2], x.shape[-1], -1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)
