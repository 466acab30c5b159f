"""Answers to 06-b: more wrong ones. Layers as they must not be, and modules that cannot be trained or called as asked."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_06_b import ANSWERS, Given, Whole, order_of, reordered

mutant = ANSWERS.mutant


@mutant("bias")
class ConvolutionsWithoutBias(Whole):
    """As nearly all others in this network."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.widen = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.narrow = nn.Conv2d(2 * channels, channels, 1, bias=False)


@mutant("bias")
class LinearLayersWithoutBias(Whole):
    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear1 = nn.Linear(text_width, text_width, bias=False)
        self.linear2 = nn.Linear(text_width, 2 * channels, bias=False)


@mutant("1x1|shape|kernel")
class ConvolutionsOfThreePixels(Whole):
    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.widen = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.narrow = nn.Conv2d(2 * channels, channels, 3, padding=1)


@mutant("2C|shape|channel|linear2")
class GuideOfTheOldChannels(Given):
    """As many entries as x has channels; the wide features lose half."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear2 = nn.Linear(text_width, channels)

    def forward(self, x, text):
        order = self.order(text)
        return self.narrow(reordered(self.widen(x), torch.cat([order, order + x.shape[1]], dim=1)))


@mutant("shape|widen|narrow|channel")
class NeverWidened(Whole):
    """C -> C -> C."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear2 = nn.Linear(text_width, channels)
        self.widen = nn.Conv2d(channels, channels, 1)
        self.narrow = nn.Conv2d(channels, channels, 1)


@mutant("shape|linear1")
class FirstLayerStraightToTheChannels(Given):
    """T -> 2C -> 2C."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear1 = nn.Linear(text_width, 2 * channels)
        self.linear2 = nn.Linear(2 * channels, 2 * channels)

    def forward(self, x, text):
        return self.narrow(reordered(self.widen(x), self.order(text)))


@mutant("text_width|512|shape")
class TextOf512(Whole):
    def __init__(self, channels, text_width):
        super().__init__(channels, 512)


@mutant("linear3|belong|extra")
class OneLayerMore(Whole):
    """linear3, between the two."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear3 = nn.Linear(text_width, text_width)

    def guide(self, text):
        return self.linear2(self.linear3(self.linear1(text)))


@mutant("name|missing|linear1|found")
class OtherNames(nn.Module):
    """Nothing would be found by the names of the shipped weights."""

    def __init__(self, channels, text_width):
        super().__init__()
        self.text = nn.Sequential(nn.Linear(text_width, text_width), nn.Linear(text_width, 2 * channels))
        self.to_wide = nn.Conv2d(channels, 2 * channels, 1)
        self.to_narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x, text):
        return self.to_narrow(reordered(self.to_wide(x), order_of(self.text(text))))


@mutant("linear1|linear2|missing|guide")
class TextLayersLeftOut(nn.Module):
    """The features decide, no text is read."""

    def __init__(self, channels, text_width):
        super().__init__()
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(reordered(y, order_of(y.mean((2, 3)))))


@mutant("list|parameter|missing|register")
class LayersInAList(Given):
    """Hidden from `parameters()`."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.convolutions = [self.widen, self.narrow]
        del self.widen, self.narrow

    def forward(self, x, text):
        widen, narrow = self.convolutions
        return narrow(reordered(widen(x), self.order(text)))


@mutant("text")
class PermutationDrawnOnce(Given):
    """A fixed one for all texts, drawn in __init__."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.fixed = torch.randperm(2 * channels)

    def forward(self, x, text):
        return self.narrow(self.widen(x)[:, self.fixed])


@mutant()
class OrderOfTheFirstCall(Given):
    """Kept for all that follows."""

    kept = None

    def forward(self, x, text):
        if self.kept is None or self.kept.shape[0] != len(x):
            self.kept = self.order(text)
        return self.narrow(reordered(self.widen(x), self.kept))


@mutant("train|mode|eval")
class ShuffledWhileItTrainsOnly(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(reordered(y, self.order(text)) if self.training else y)


@mutant("train|mode|eval")
class ShuffledInEvalModeOnly(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(y if self.training else reordered(y, self.order(text)))


@mutant("gradient")
class GuideThatLearns(Given):
    """A factor of one whose gradient reaches the linear layers: not what the published network does."""

    def forward(self, x, text):
        guide = self.guide(text)
        factor = 1 + guide - guide.detach()
        return self.narrow(reordered(self.widen(x) * factor[:, :, None, None], order_of(guide)))


@mutant("gradient")
class FeaturesDetached(Whole):
    def forward(self, x, text):
        return super().forward(x.detach(), text)


@mutant("gradient")
class WidenedDetached(Given):
    def forward(self, x, text):
        return self.narrow(reordered(self.widen(x).detach(), self.order(text)))


@mutant("gradient")
class UnderNoGrad(Whole):
    @torch.no_grad()
    def forward(self, x, text):
        return super().forward(x, text)


@mutant("gradient")
class WideningUnderNoGrad(Given):
    """The order needs no gradient, but the features do."""

    def forward(self, x, text):
        with torch.no_grad():
            y = reordered(self.widen(x), self.order(text))
        return self.narrow(y)


@mutant("gradient|widen")
class WeightTakenAsData(Given):
    def forward(self, x, text):
        return self.narrow(reordered(F.conv2d(x, self.widen.weight.data, self.widen.bias), self.order(text)))


@mutant("gradient|frozen|train|requires_grad")
class TextLayersFrozen(Whole):
    """They learn nothing anyway; but that is for the student to find, and for 06-h to change."""

    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.linear1.requires_grad_(False)
        self.linear2.requires_grad_(False)


@mutant("gradient|frozen|train|requires_grad")
class WideningFrozen(Whole):
    def __init__(self, channels, text_width):
        super().__init__(channels, text_width)
        self.widen.requires_grad_(False)


@mutant()
class FreshLayersInForward(Given):
    def forward(self, x, text):
        widen = nn.Conv2d(x.shape[1], 2 * x.shape[1], 1)
        return self.narrow(reordered(widen(x), self.order(text)))


@mutant("every time|random|dropout")
class WithDropout(Whole):
    def forward(self, x, text):
        return F.dropout(super().forward(x, text), 0.1, self.training)


@mutant("in.place")
class FeaturesOverwritten(Whole):
    def forward(self, x, text):
        y = super().forward(x, text)
        x.data.copy_(y.detach())
        return y


@mutant("in.place")
class TextOverwritten(Whole):
    def forward(self, x, text):
        y = super().forward(x, text)
        text.data.zero_()
        return y


@mutant("in.place|weight|optimiser")
class WeightsReorderedInPlace(Given):
    """The permutation written into the layer: the next call starts from there."""

    def forward(self, x, text):
        parts = []
        for image, order in zip(x, self.order(text), strict=True):
            self.widen.weight.data, self.widen.bias.data = self.widen.weight.data[order], self.widen.bias.data[order]
            parts.append(self.narrow(self.widen(image[None])))
        return torch.cat(parts)


@mutant("float64|double|dtype")
class DoublePrecision(Whole):
    def forward(self, x, text):
        return super().forward(x, text).double()


@mutant()
class HalfPrecision(Given):
    def forward(self, x, text):
        return self.narrow(reordered(self.widen(x).bfloat16().float(), self.order(text)))


@mutant()
class GuideInHalfPrecision(Given):
    """Values close to each other become ties, and their channels change places."""

    def forward(self, x, text):
        guide = (4 * self.guide(text)).round() / 4
        return self.narrow(reordered(self.widen(x), guide.argsort(dim=1, descending=True, stable=True)))


@mutant("tuple|tensor")
class FeaturesAndOrder(Given):
    def forward(self, x, text):
        order = self.order(text)
        return self.narrow(reordered(self.widen(x), order)), order


@mutant()
class OneImageOnly(Whole):
    def forward(self, x, text):
        return super().forward(x[:1], text[:1])


@mutant()
class FirstImageForAll(Whole):
    def forward(self, x, text):
        return super().forward(x[:1], text[:1]).expand(len(x), -1, -1, -1)


@mutant()
class LastImageOfTheLoop(Given):
    def forward(self, x, text):
        for image, order in zip(self.widen(x), self.order(text), strict=True):
            out = self.narrow(image[order][None])
        return out


@mutant()
class SizesWrittenDown(Given):
    def forward(self, x, text):
        y = self.widen(x).reshape(-1, 96, 64, 64)
        return self.narrow(reordered(y, self.order(text)))


@mutant()
class SquarePicturesOnly(Given):
    def forward(self, x, text):
        B, _, H, _ = x.shape
        y = self.widen(x).reshape(B, -1, H, H)
        return self.narrow(reordered(y, self.order(text)))


@mutant("order|argument|text|first")
class TextAsTheFirstArgument(Whole):
    """forward(text, x)."""

    def forward(self, text, x):
        return super().forward(x, text)


@mutant("forward|argument|text")
class FeaturesAlone(Given):
    def forward(self, x):
        return self.narrow(self.widen(x))


@mutant("order|argument|channel|width|shape|__init__")
class TextWidthFirst(Whole):
    """__init__(text_width, channels)."""

    def __init__(self, text_width, channels):
        super().__init__(channels, text_width)


@mutant("Module")
def a_function(channels, text_width):
    return lambda x, text: x
