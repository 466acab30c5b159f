"""Answers to 06-b, degradation-guided channel perturbation: wrong ones. More in `ex_06_b_training.py`, right ones in `ex_06_b_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from . import Answers

ANSWERS = Answers("06-b")
mutant = ANSWERS.mutant


def order_of(guide):
    """06-a's two functions, which a student has at hand."""
    return guide.argsort(dim=1, descending=True)


def reordered(x, order):
    return torch.take_along_dim(x, order[:, :, None, None], dim=1)


class Given(nn.Module):
    """The layers of the exercise."""

    def __init__(self, channels, text_width):
        super().__init__()
        self.linear1 = nn.Linear(text_width, text_width)
        self.linear2 = nn.Linear(text_width, 2 * channels)
        self.widen = nn.Conv2d(channels, 2 * channels, kernel_size=1)
        self.narrow = nn.Conv2d(2 * channels, channels, kernel_size=1)

    def guide(self, text):
        return self.linear2(self.linear1(text))

    def order(self, text):
        return order_of(self.guide(text))


class Whole(Given):
    """Right: what most answers here spoil in one place."""

    def forward(self, x, text):
        return self.narrow(reordered(self.widen(x), self.order(text)))


# ---- the guide ----


@mutant("linear1|linear2|text|guide")
class FirstLayerLeftOut(Whole):
    def guide(self, text):
        return self.linear2(text)


@mutant("linear1|twice|guide|order")
class FirstLayerTwice(Whole):
    def guide(self, text):
        return self.linear2(self.linear1(self.linear1(text)))


@mutant("activation|relu|between|linear")
class ReluBetweenTheLayers(Whole):
    def guide(self, text):
        return self.linear2(F.relu(self.linear1(text)))


@mutant("activation|gelu|between|linear")
class GeluBetweenTheLayers(Whole):
    def guide(self, text):
        return self.linear2(F.gelu(self.linear1(text)))


@mutant()
class ReluAfterTheLayers(Whole):
    """All channels below zero become one tie."""

    def guide(self, text):
        return F.relu(super().guide(text))


@mutant()
class ResidualInTheGuide(Whole):
    def guide(self, text):
        return self.linear2(text + self.linear1(text))


@mutant("normali|text|length")
class TextNormalised(Whole):
    def guide(self, text):
        return super().guide(F.normalize(text, dim=1))


@mutant()
class TextThroughALayerNorm(Whole):
    def guide(self, text):
        return super().guide(F.layer_norm(text, text.shape[-1:]))


@mutant()
class TextThroughASoftmax(Whole):
    def guide(self, text):
        return super().guide(text.softmax(dim=1))


@mutant("bias")
class BiasOfTheGuideForgotten(Whole):
    def guide(self, text):
        return self.linear1(text) @ self.linear2.weight.T


@mutant("bias")
class BiasOfTheFirstLayerForgotten(Whole):
    def guide(self, text):
        return self.linear2(text @ self.linear1.weight.T)


@mutant()
class FirstWeightTransposed(Whole):
    def guide(self, text):
        return self.linear2(text @ self.linear1.weight + self.linear1.bias)


@mutant("image|batch|each|own")
class TextOfTheFirstImage(Whole):
    def guide(self, text):
        return super().guide(text[:1].expand_as(text))


@mutant("image|batch|each|own|mean")
class MeanTextOfTheBatch(Whole):
    def guide(self, text):
        return super().guide(text.mean(dim=0, keepdim=True).expand_as(text))


@mutant("batch|softmax")
class GuideSoftmaxedOverTheBatch(Whole):
    def guide(self, text):
        return super().guide(text).softmax(dim=0)


@mutant("batch|centre|mean")
class GuideCentredOverTheBatch(Whole):
    """A batch norm of the guide: an image's order depends on its neighbours."""

    def guide(self, text):
        guide = super().guide(text)
        return guide - guide.mean(dim=0) if len(guide) > 1 else guide.flip(1)


@mutant("text|guide|zero|effect")
class TextMadeZero(Whole):
    """The biases decide."""

    def guide(self, text):
        return super().guide(torch.zeros_like(text))


# ---- the order ----


@mutant("fall|descend|largest|ascend|rising|order")
class RisingOrder(Whole):
    def order(self, text):
        return self.guide(text).argsort(dim=1)


@mutant("rank|twice|argsort|inverse|gather")
class Ranks(Whole):
    def order(self, text):
        return super().order(text).argsort(dim=1)


@mutant("batch|image|axis|dim")
class OrderAlongTheBatch(Whole):
    def order(self, text):
        return self.guide(text).argsort(dim=0, descending=True)


@mutant()
class OrderBySizeWithoutSign(Whole):
    def order(self, text):
        return order_of(self.guide(text).abs())


@mutant("image|batch|each|own")
class OrderOfTheFirstImage(Given):
    def forward(self, x, text):
        return self.narrow(self.widen(x)[:, self.order(text)[0]])


@mutant("shuffle|reorder|order|text")
class NothingReordered(Given):
    def forward(self, x, text):
        return self.narrow(self.widen(x))


@mutant("gather|scatter|inverse|rank|backward")
class Scattered(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(torch.zeros_like(y).scatter(1, self.order(text)[:, :, None, None].expand_as(y), y))


@mutant("twice")
class ReorderedTwice(Given):
    def forward(self, x, text):
        order = self.order(text)
        return self.narrow(reordered(reordered(self.widen(x), order), order))


@mutant()
class ReorderedAndPutBack(Given):
    def forward(self, x, text):
        order = self.order(text)
        y = reordered(self.widen(x), order)
        return self.narrow(reordered(y, order.argsort(dim=1)))


@mutant()
class HalvesReorderedApart(Given):
    """Each C among themselves."""

    def forward(self, x, text):
        C = x.shape[1]
        guide, y = self.guide(text), self.widen(x)
        return self.narrow(torch.cat([reordered(y[:, :C], order_of(guide[:, :C])), reordered(y[:, C:], order_of(guide[:, C:]))], dim=1))


@mutant()
class TopHalfReordered(Given):
    """The rest stays where it is."""

    def forward(self, x, text):
        C = x.shape[1]
        y = self.widen(x)
        return self.narrow(torch.cat([reordered(y, self.order(text)[:, :C]), y[:, C:]], dim=1))


@mutant("zero|all|half|drop")
class TopHalfKept(Given):
    """A selection instead of a permutation: the lower half becomes zero."""

    def forward(self, x, text):
        C = x.shape[1]
        y = reordered(self.widen(x), self.order(text))
        return self.narrow(torch.cat([y[:, :C], torch.zeros_like(y[:, C:])], dim=1))


@mutant("doubl|wid|before|space|2C")
class ReorderedBeforeTheWidening(Given):
    """The shuffle in C."""

    def forward(self, x, text):
        order = order_of(self.guide(text)[:, : x.shape[1]])
        return self.narrow(self.widen(reordered(x, order)))


@mutant("narrow|halv|after|space|2C")
class ReorderedAfterTheNarrowing(Given):
    def forward(self, x, text):
        order = order_of(self.guide(text)[:, : x.shape[1]])
        return reordered(self.narrow(self.widen(x)), order)


@mutant()
class PixelsReorderedToo(Given):
    """Each pixel sorted by itself."""

    def forward(self, x, text):
        return self.narrow(self.widen(x).sort(dim=1, descending=True).values + 0 * self.guide(text)[:, :, None, None])


@mutant()
class RowsSwappedForChannels(Given):
    """Runs where H is at least as tall as 2C."""

    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(y.gather(2, (self.order(text)[:, :, None, None] % y.shape[2]).expand_as(y)))


@mutant("text|feature|guide")
class OrderReadOffTheFeatures(Given):
    """A guess of the network's own, as in PromptIR."""

    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(reordered(y, order_of(y.mean(dim=(2, 3)))))


@mutant()
class OrderOfTextAndFeatures(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(reordered(y, order_of(self.guide(text) + y.mean(dim=(2, 3)))))


@mutant()
class GroupsShuffledAsInShuffleNet(Given):
    """One fixed shuffle, whatever the text."""

    def forward(self, x, text):
        return self.narrow(F.channel_shuffle(self.widen(x), 2))


@mutant("every time|random|text|guide")
class ShuffledByChance(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(y[:, torch.randperm(y.shape[1])])


# ---- widening and narrowing ----


@mutant("bias")
class BiasOfTheWideningForgotten(Given):
    def forward(self, x, text):
        return self.narrow(reordered(F.conv2d(x, self.widen.weight), self.order(text)))


@mutant("bias")
class BiasOfTheNarrowingForgotten(Given):
    def forward(self, x, text):
        return F.conv2d(reordered(self.widen(x), self.order(text)), self.narrow.weight)


@mutant("bias")
class BiasNotReordered(Given):
    """The rows of the weight find their places, the bias stays."""

    def forward(self, x, text):
        orders = self.order(text)
        return torch.cat([self.narrow(F.conv2d(x[b : b + 1], self.widen.weight[orders[b]], self.widen.bias)) for b in range(len(x))])


@mutant("narrow|halve|shape|2C")
class NotNarrowed(Given):
    def forward(self, x, text):
        return reordered(self.widen(x), self.order(text))


@mutant("narrow|halve|conv|first")
class NarrowedByDropping(Given):
    def forward(self, x, text):
        return reordered(self.widen(x), self.order(text))[:, : x.shape[1]]


@mutant("narrow|halve|conv|sum|add")
class NarrowedByAdding(Given):
    def forward(self, x, text):
        first, second = reordered(self.widen(x), self.order(text)).chunk(2, dim=1)
        return first + second


@mutant("doubl|wid|conv|cat|twice")
class WidenedByRepeating(Given):
    def forward(self, x, text):
        return self.narrow(reordered(torch.cat([x, x], dim=1), self.order(text)))


@mutant("doubl|wid|conv|cat|beside")
class FeaturesBesideTheWidened(Given):
    """Half of the wide channels give way to x."""

    def forward(self, x, text):
        y = torch.cat([x, self.widen(x)[:, x.shape[1] :]], dim=1)
        return self.narrow(reordered(y, self.order(text)))


@mutant("residual|add|x \\+")
class FeaturesAdded(Whole):
    def forward(self, x, text):
        return x + super().forward(x, text)


@mutant("residual|subtract|add")
class FeaturesSubtracted(Whole):
    def forward(self, x, text):
        return super().forward(x, text) - x


@mutant()
class OriginalOrderAdded(Given):
    def forward(self, x, text):
        y = self.widen(x)
        return self.narrow(y + reordered(y, self.order(text)))


@mutant("activation|relu")
class ReluAfterTheWidening(Given):
    def forward(self, x, text):
        return self.narrow(F.relu(reordered(self.widen(x), self.order(text))))


@mutant("activation|gelu")
class GeluAfterwards(Whole):
    def forward(self, x, text):
        return F.gelu(super().forward(x, text))


@mutant("weigh|multipl|attention|reorder")
class ChannelsWeighedByTheGuide(Given):
    def forward(self, x, text):
        return self.narrow(self.widen(x) * self.guide(text)[:, :, None, None])


@mutant("weigh|multipl|attention|reorder")
class PlainChannelAttention(Given):
    """The CA of Table 3."""

    def forward(self, x, text):
        return self.narrow(self.widen(x) * self.guide(text).sigmoid()[:, :, None, None])


@mutant("weigh|multipl|attention|softmax")
class ReorderedAndWeighed(Given):
    def forward(self, x, text):
        values, order = self.guide(text).sort(dim=1, descending=True)
        return self.narrow(reordered(self.widen(x), order) * values.softmax(dim=1)[:, :, None, None])


@mutant()
class GuideAdded(Given):
    def forward(self, x, text):
        return self.narrow(self.widen(x) + self.guide(text)[:, :, None, None])


@mutant()
class SoftPermutation(Given):
    """06-h's soft matrix in the forward pass."""

    def forward(self, x, text):
        guide = self.guide(text)
        s = guide.sort(dim=1, descending=True).values
        P = (-(s[:, :, None] - guide[:, None]).abs()).softmax(dim=2)
        return self.narrow(torch.einsum("bij,bjhw->bihw", P, self.widen(x)))
