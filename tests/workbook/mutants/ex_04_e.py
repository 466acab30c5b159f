"""Answers to 04-e, the residual block with time: wrong ones. More in `ex_04_e_training.py`, the right ones in `ex_04_e_right.py`."""

import torch.nn.functional as F
from torch import nn

from course_lib.models.unet_parts import Block, RMSNorm

from . import Answers

ANSWERS = Answers("04-e")
mutant = ANSWERS.mutant


class Given(nn.Module):
    """An `__init__` as it should be."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * out_channels))
        self.block1 = Block(channels, out_channels, nn.Conv2d, RMSNorm)
        self.block2 = Block(out_channels, out_channels, nn.Conv2d, RMSNorm)
        self.res_conv = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def pair(self, time):
        return self.mlp(time)[:, :, None, None].chunk(2, dim=1)


class Whole(Given):
    """Right: what others spoil."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant("swap|order|scale|shift|first half")
class ShiftFirst(Given):
    def forward(self, x, time):
        shift, scale = self.pair(time)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant("scale|shift|half|chunk|every")
class EveryOtherNumberAScale(Given):
    def forward(self, x, time):
        both = self.mlp(time)[:, :, None, None]
        return self.block2(self.block1(x, both[:, ::2], both[:, 1::2])) + self.res_conv(x)


@mutant("second|first|block")
class TimeInTheSecondBlock(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x), scale, shift) + self.res_conv(x)


@mutant("both|second|first|block")
class TimeInBothBlocks(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift), scale, shift) + self.res_conv(x)


@mutant("time")
class NoTime(Given):
    def forward(self, x, time):
        return self.block2(self.block1(x)) + self.res_conv(x)


@mutant("shift")
class ScaleAlone(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, 0 * shift)) + self.res_conv(x)


@mutant("scale")
class ShiftAlone(Given):
    """The paper's way: the time is added."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, 0 * scale, shift)) + self.res_conv(x)


@mutant()
class OneTooMuch(Given):
    """Block adds the 1 itself."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale + 1, shift)) + self.res_conv(x)


@mutant()
class OneTooLittle(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block1.norm(self.block1.proj(x))
        return self.block2(F.silu(y * scale + shift)) + self.res_conv(x)


@mutant()
class ShiftedBeforeScaled(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block1.norm(self.block1.proj(x))
        return self.block2(F.silu((y + shift) * (scale + 1))) + self.res_conv(x)


@mutant()
class ScaledBeforeTheNorm(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block1.norm(self.block1.proj(x) * (scale + 1) + shift)
        return self.block2(F.silu(y)) + self.res_conv(x)


@mutant()
class ScaledAfterTheActivation(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x) * (scale + 1) + shift) + self.res_conv(x)


@mutant()
class TimeOfTheFirstPictureForAll(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time[:1])
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant()
class MeanOfTheTimes(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time.mean(dim=0, keepdim=True))
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant()
class SplitAlongTheBatch(Given):
    """Runs for an even batch of the right width."""

    def forward(self, x, time):
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=0)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant()
class TimeAlongTheColumns(Given):
    """(B, out) meets (H, W): runs where the sides happen to fit."""

    def forward(self, x, time):
        scale, shift = self.mlp(time).chunk(2, dim=1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant("shortcut|residual|res_conv")
class NoShortcut(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift))


@mutant("shortcut|residual|res_conv")
class ShortcutOnlyWhereTheWidthStays(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block2(self.block1(x, scale, shift))
        return y + x if x.shape == y.shape else y


@mutant("shortcut|residual|res_conv")
class ShortcutOnlyWhereTheWidthChanges(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block2(self.block1(x, scale, shift))
        return y if x.shape == y.shape else y + self.res_conv(x)


@mutant("res_conv|shortcut|shape|size|match")
class PictureItselfAdded(Given):
    """Runs where the width stays."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift)) + x


@mutant("shortcut|residual|res_conv|sign")
class ShortcutSubtracted(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift)) - self.res_conv(x)


@mutant()
class ShortcutBeforeTheSecondBlock(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale, shift) + self.res_conv(x))


@mutant()
class ShortcutFromTheFirstBlock(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        y = self.block1(x, scale, shift)
        return self.block2(y) + y


@mutant()
class HalvedByTheRootOfTwo(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return (self.block2(self.block1(x, scale, shift)) + self.res_conv(x)) / 2**0.5


@mutant()
class ActivationAfterwards(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return F.silu(self.block2(self.block1(x, scale, shift)) + self.res_conv(x))


@mutant()
class SecondBlockLeftOut(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block1(x, scale, shift) + self.res_conv(x)


@mutant()
class SecondBlockTwice(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block2(self.block1(x, scale, shift))) + self.res_conv(x)


@mutant()
class SecondBlockLinear(Given):
    """The last SiLU left out."""

    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2.norm(self.block2.proj(self.block1(x, scale, shift))) + self.res_conv(x)


@mutant("SiLU|mlp|activation")
class TimeWithoutSilu(Given):
    def forward(self, x, time):
        scale, shift = self.mlp[1](time)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant()
class SiluAlsoAfterTheMlp(Given):
    def forward(self, x, time):
        scale, shift = F.silu(self.mlp(time))[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


@mutant()
class ScaleKeptSmall(Given):
    def forward(self, x, time):
        scale, shift = self.pair(time)
        return self.block2(self.block1(x, scale.tanh(), shift)) + self.res_conv(x)
