"""Answers to 04-d, the embedding of time: TimeEmbedding(dim), forward(t (B,)) -> (B, dim), sines then cosines."""

import math

import torch
from torch import nn

from . import Answers

ANSWERS = Answers("04-d")
mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


class Given(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def frequencies(self, t):
        half = self.dim // 2
        return torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / (half - 1)))

    def join(self, angles):
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


@mutant("order|first|then|sin|cos")
class CosinesFirst(Given):
    def forward(self, t):
        angles = t[:, None] * self.frequencies(t)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


@mutant("interleav|turn|order|then|altern|sin|cos")
class Interleaved(Given):
    def forward(self, t):
        angles = t[:, None] * self.frequencies(t)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


@mutant("frequenc|half|1/10000|10000|last")
class LastFrequencyNotReached(Given):
    """Vaswani's: divided by dim/2, not by dim/2 - 1."""

    def frequencies(self, t):
        half = self.dim // 2
        return torch.exp(torch.arange(half) * (-math.log(10000) / half))

    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))


@mutant("frequenc|rise|grow|sign|10000")
class FrequenciesThatRise(Given):
    def frequencies(self, t):
        return 1 / super().frequencies(t)

    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))


@mutant("frequenc|order")
class FrequenciesBackwards(Given):
    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t).flip(0))


@mutant("frequenc|exp|linear|geometric|spac")
class FrequenciesInAStraightLine(Given):
    def forward(self, t):
        return self.join(t[:, None] * torch.linspace(1, 1e-4, self.dim // 2))


@mutant("frequenc|10000|1000")
class FrequenciesToOneThousandth(Given):
    def forward(self, t):
        half = self.dim // 2
        return self.join(t[:, None] * torch.exp(torch.arange(half) * (-math.log(1000) / (half - 1))))


@mutant("frequenc|10000|log")
class LogarithmToBaseTen(Given):
    def forward(self, t):
        half = self.dim // 2
        return self.join(t[:, None] * torch.exp(torch.arange(half) * (-math.log10(10000) / (half - 1))))


@mutant()
class FrequenciesTimesPi(Given):
    def forward(self, t):
        return self.join(2 * math.pi * t[:, None] * self.frequencies(t))


@mutant()
class TimesInThousandths(Given):
    def forward(self, t):
        return self.join(t[:, None] / 1000 * self.frequencies(t))


@mutant()
class TimesInThousandthsAndBackAgain(Given):
    """Times from 0 to 1000 in all, whatever the largest is."""

    def forward(self, t):
        return self.join(t[:, None] / t.max().clamp(min=1) * 1000 * self.frequencies(t))


@mutant()
class TimesCountedFromOne(Given):
    def forward(self, t):
        return self.join((t[:, None] + 1) * self.frequencies(t))


@mutant()
class TimesUpTo99(Given):
    def forward(self, t):
        return self.join(t.clamp(max=99)[:, None] * self.frequencies(t))


@mutant()
class FrequenciesTimesSine(Given):
    """sin(t) f for sin(t f)."""

    def forward(self, t):
        w = self.frequencies(t)
        return torch.cat([t[:, None].sin() * w, t[:, None].cos() * w], dim=-1)


@mutant()
class SinesTwice(Given):
    def forward(self, t):
        angles = t[:, None] * self.frequencies(t)
        return torch.cat([angles.sin(), angles.sin()], dim=-1)


@mutant("shape|dim|cos")
class SinesAlone(Given):
    def forward(self, t):
        return (t[:, None] * self.frequencies(t)).sin()


@mutant("shape|dim|width|device")
class TwiceAsWide(Given):
    """dim sines and dim cosines."""

    def forward(self, t):
        w = torch.exp(torch.arange(self.dim) * (-math.log(10000) / (self.dim - 1)))
        return self.join(t[:, None] * w)


@mutant()
class FrequenciesOfDimColumns(Given):
    """A frequency a column: sines of the first half, cosines of the second half of them."""

    def forward(self, t):
        w = torch.exp(torch.arange(self.dim) * (-math.log(10000) / (self.dim - 1)))
        angles = t[:, None] * w
        half = self.dim // 2
        return torch.cat([angles[:, :half].sin(), angles[:, half:].cos()], dim=-1)


@mutant("shape|dim|64|size")
class SixtyFourColumns(Given):
    def __init__(self, dim):
        super().__init__(64)

    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))


@mutant()
class ThirtyTwoFrequenciesCut(Given):
    """Those of dim 64, as many as fit."""

    def forward(self, t):
        w = torch.exp(torch.arange(self.dim // 2) * (-math.log(10000) / 31))
        return self.join(t[:, None] * w)


@mutant("shape|axis|axes|dimension")
class OneAxisTooMany(Given):
    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))[:, None]


@mutant("shape|axis|axes|dimension")
class ReadyForPictures(Given):
    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))[:, :, None, None]


@mutant("shape|transpos")
class Transposed(Given):
    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t)).T


@mutant()
class FirstTimeForAll(Given):
    def forward(self, t):
        return self.join(t[:1, None] * self.frequencies(t)).expand(len(t), -1)


@mutant("shape")
class FirstTimeOnly(Given):
    def forward(self, t):
        return self.join(t[0] * self.frequencies(t))[None]


@mutant()
class WholeNumbers(Given):
    """The frequencies in the dtype of the times: all but the first are 0."""

    def forward(self, t):
        return self.join((t[:, None] * self.frequencies(t).to(t.dtype)).float())


@mutant()
class HalfPrecision(Given):
    """sin(999) needs more digits than bfloat16 has."""

    def forward(self, t):
        return self.join(t[:, None].bfloat16() * self.frequencies(t).bfloat16()).float()


@mutant("size|shape|match|batch|broadcast")
class TimesAgainstFrequencies(Given):
    """(B,) times (dim/2,): runs for one picture or B = dim/2."""

    def forward(self, t):
        return self.join(t * self.frequencies(t)).reshape(len(t), -1)


@mutant("parameter|learn|nothing|belong")
class Learned(Given):
    def __init__(self, dim):
        super().__init__(dim)
        self.table = nn.Embedding(1000, dim)

    def forward(self, t):
        return self.table(t.long())


@mutant("parameter|learn|nothing|belong")
class LearnedFrequencies(Given):
    """They begin right and are trained away."""

    def __init__(self, dim):
        super().__init__(dim)
        self.w = nn.Parameter(self.frequencies(torch.zeros(1)))

    def forward(self, t):
        return self.join(t[:, None] * self.w)


@mutant("parameter|linear|learn|belong|off")
class LinearAfterwards(Given):
    def __init__(self, dim):
        super().__init__(dim)
        self.after = nn.Linear(dim, dim)

    def forward(self, t):
        return self.after(self.join(t[:, None] * self.frequencies(t)))


@mutant()
class RandomFrequencies(Given):
    def __init__(self, dim):
        super().__init__(dim)
        self.register_buffer("w", torch.rand(dim // 2))

    def forward(self, t):
        return self.join(t[:, None] * self.w)


@mutant()
class NormalisedToLengthOne(Given):
    def forward(self, t):
        return nn.functional.normalize(self.join(t[:, None] * self.frequencies(t)), dim=1)


@mutant("in.place|argument")
class TimesOverwritten(Given):
    def forward(self, t):
        result = self.join(t[:, None] * self.frequencies(t))
        t.zero_()
        return result


@mutant("Module")
def a_function(dim):
    return lambda t: Given(dim).join(t[:, None] * Given(dim).frequencies(t))
