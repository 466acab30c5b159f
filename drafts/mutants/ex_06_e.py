"""Answers to 06-e, the block: wrong ones; `__init__` is given. The right ones stand in `ex_06_e_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.layers import GDFN, LayerNorm

from . import Answers

ANSWERS = Answers("06-e")
mutant = ANSWERS.mutant


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, channels, heads, text_width, perturbation, attention):
        super().__init__()
        self.perturb = perturbation(channels, text_width)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(channels) for _ in range(3))
        self.attn = attention(channels, heads)
        self.ffn = GDFN(channels)

    def attended(self, x, text):
        """Right, for answers that go wrong after it."""
        return self.attn(self.norm1(self.perturb(x, text)), self.norm2(x))

    def fed(self, out):
        """The second half, for answers that go wrong before it."""
        return out + self.ffn(self.norm3(out))


class Whole(Given):
    def forward(self, x, text):
        return self.fed(self.attended(x, text))


# ---- residuals ----


@mutant("residual|add|x \\+|original")
class OriginalAddedToTheAttention(Given):
    """A Transformer block's first residual."""

    def forward(self, x, text):
        return self.fed(x + self.attended(x, text))


@mutant("residual|add|shuffled \\+|perturb")
class ShuffledAddedToTheAttention(Given):
    def forward(self, x, text):
        return self.fed(self.perturb(x, text) + self.attended(x, text))


@mutant("residual|add|x \\+|original")
class OriginalAddedAtTheEnd(Whole):
    """As around the whole network."""

    def forward(self, x, text):
        return x + super().forward(x, text)


@mutant("residual|add|x \\+|original")
class OriginalAddedToTheFeedForward(Given):
    """x for out in the second residual."""

    def forward(self, x, text):
        return x + self.ffn(self.norm3(self.attended(x, text)))


@mutant("residual|add|x \\+|original")
class OriginalAddedTwice(Given):
    def forward(self, x, text):
        out = x + self.attended(x, text)
        return x + self.ffn(self.norm3(out))


@mutant("residual|out \\+|add")
class NoResidualAtAll(Given):
    def forward(self, x, text):
        return self.ffn(self.norm3(self.attended(x, text)))


@mutant("residual|norm|add")
class NormedResidual(Given):
    """norm3(out) + ffn(norm3(out))."""

    def forward(self, x, text):
        out = self.norm3(self.attended(x, text))
        return out + self.ffn(out)


@mutant("residual|norm|add")
class NormedOriginalAdded(Given):
    def forward(self, x, text):
        x2 = self.norm2(x)
        return self.fed(x2 + self.attn(self.norm1(self.perturb(x, text)), x2))


@mutant("residual|norm|add")
class NormedShuffledAdded(Given):
    def forward(self, x, text):
        shuffled = self.norm1(self.perturb(x, text))
        return self.fed(shuffled + self.attn(shuffled, self.norm2(x)))


@mutant("residual|twice|add")
class AttentionAddedTwice(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return 2 * out + self.ffn(self.norm3(out))


@mutant("add|sign|subtract|minus")
class FeedForwardSubtracted(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out - self.ffn(self.norm3(out))


@mutant("mean|half|sum|add")
class MeanForTheSum(Given):
    def forward(self, x, text):
        return self.fed(self.attended(x, text)) / 2


# ---- norms ----


@mutant("norm1|norm2|swap")
class FirstTwoNormsSwapped(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm2(self.perturb(x, text)), self.norm1(x)))


@mutant("norm1|norm2|share|own")
class FirstNormForBoth(Given):
    """They start the same."""

    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(x, text)), self.norm1(x)))


@mutant("norm1|norm2|share|own")
class SecondNormForBoth(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm2(self.perturb(x, text)), self.norm2(x)))


@mutant("norm3|norm2|own")
class SecondNormAgain(Given):
    """norm2 where norm3 belongs, as in a Transformer block."""

    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.ffn(self.norm2(out))


@mutant("norm3|norm1|own")
class FirstNormAgain(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.ffn(self.norm1(out))


@mutant("norm3|norm1|own")
class FirstAndThirdNormSwapped(Given):
    def forward(self, x, text):
        out = self.attn(self.norm3(self.perturb(x, text)), self.norm2(x))
        return out + self.ffn(self.norm1(out))


@mutant("norm1|shuffled")
class ShuffledNotNormed(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.perturb(x, text), self.norm2(x)))


@mutant("norm2|original|x")
class OriginalNotNormed(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(x, text)), x))


@mutant("norm")
class NeitherNormed(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.perturb(x, text), x))


@mutant("norm3")
class FeedForwardNotNormed(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.ffn(out)


@mutant("norm")
class NoNorms(Given):
    def forward(self, x, text):
        out = self.attn(self.perturb(x, text), x)
        return out + self.ffn(out)


@mutant("norm|before|after")
class NormsAfterwards(Given):
    """Post-norm: norm3 of the sum."""

    def forward(self, x, text):
        out = self.attended(x, text)
        return self.norm3(out + self.ffn(out))


@mutant("norm|before|after|feed")
class NormOfTheFeedForward(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.norm3(self.ffn(out))


@mutant("norm|before|after|attention|attn")
class NormOfTheAttention(Given):
    def forward(self, x, text):
        return self.fed(self.norm1(self.attn(self.perturb(x, text), self.norm2(x))))


@mutant("norm1|perturb|before|after|order")
class NormedBeforeTheShuffle(Given):
    """perturb(norm1(x))."""

    def forward(self, x, text):
        return self.fed(self.attn(self.perturb(self.norm1(x), text), self.norm2(x)))


@mutant("norm1|perturb|before|order")
class NormedBeforeAndAfterTheShuffle(Given):
    """x = norm2(x) once and for all."""

    def forward(self, x, text):
        x = self.norm2(x)
        return self.fed(self.attn(self.norm1(self.perturb(x, text)), x))


@mutant("norm|twice")
class OriginalNormedTwice(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(x, text)), self.norm2(self.norm1(x))))


# ---- attention ----


@mutant("order|swap|query|shuffled|first")
class QueryAndKeySwapped(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm2(x), self.norm1(self.perturb(x, text))))


@mutant("order|swap|query|shuffled|first")
class FeaturesSwappedUnderTheirNorms(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(x), self.norm2(self.perturb(x, text))))


@mutant("original|x|overwrit|shuffled|lost|both")
class OriginalOverwrittenByName(Given):
    """x = perturb(x): from then on the original is lost."""

    def forward(self, x, text):
        x = self.perturb(x, text)
        return self.fed(self.attn(self.norm1(x), self.norm2(x)))


@mutant("perturb|shuffled|both|text")
class NothingShuffled(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(x), self.norm2(x)) + 0 * self.perturb(x, text))


@mutant("perturb|twice|shuffled")
class ShuffledTwice(Given):
    def forward(self, x, text):
        shuffled = self.perturb(self.perturb(x, text), text)
        return self.fed(self.attn(self.norm1(shuffled), self.norm2(x)))


@mutant("attention|attn")
class NoAttention(Given):
    """The DGCPM row of Table 3."""

    def forward(self, x, text):
        return self.fed(self.perturb(x, text))


@mutant("attention|attn")
class SumForTheAttention(Given):
    def forward(self, x, text):
        return self.fed(self.norm1(self.perturb(x, text)) + self.norm2(x))


@mutant("attention|attn|twice")
class AttentionTwice(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.attended(x, text)), self.norm2(x)))


@mutant("shuffled|perturb|attention")
class AttentionShuffledAfterwards(Given):
    """perturb last."""

    def forward(self, x, text):
        return self.fed(self.perturb(self.attn(self.norm1(x), self.norm2(x)), text))


# ---- feed-forward ----


@mutant("ffn|feed")
class NoFeedForward(Given):
    def forward(self, x, text):
        return self.attended(x, text)


@mutant("ffn|feed")
class NormForTheFeedForward(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.norm3(out)


@mutant("ffn|feed|x|original|attention")
class FeedForwardOfTheOriginal(Given):
    def forward(self, x, text):
        return self.attended(x, text) + self.ffn(self.norm3(x))


@mutant("ffn|feed|shuffled|attention")
class FeedForwardOfTheShuffled(Given):
    def forward(self, x, text):
        return self.attended(x, text) + self.ffn(self.norm3(self.perturb(x, text)))


@mutant("ffn|feed|order|before|first")
class FeedForwardBeforeTheAttention(Given):
    def forward(self, x, text):
        shuffled = self.perturb(x, text)
        shuffled = shuffled + self.ffn(self.norm3(shuffled))
        return self.attn(self.norm1(shuffled), self.norm2(x))


@mutant("ffn|feed|twice")
class FeedForwardTwice(Given):
    def forward(self, x, text):
        return self.fed(self.fed(self.attended(x, text)))


@mutant("activation|relu")
class ReluAfterTheAttention(Given):
    def forward(self, x, text):
        return self.fed(F.relu(self.attended(x, text)))


@mutant("activation|relu|gelu")
class GeluAtTheEnd(Whole):
    def forward(self, x, text):
        return F.gelu(super().forward(x, text))


# ---- the text ----


@mutant("text|each|image|first")
class TextOfTheFirstImage(Whole):
    def forward(self, x, text):
        return super().forward(x, text[:1].expand_as(text))


@mutant("text|mean|each|image|batch")
class MeanTextOfTheBatch(Whole):
    def forward(self, x, text):
        return super().forward(x, text.mean(dim=0, keepdim=True).expand_as(text))


@mutant("text|zero")
class TextMadeZero(Whole):
    def forward(self, x, text):
        return super().forward(x, torch.zeros_like(text))


@mutant("text|normali|length")
class TextNormalised(Whole):
    def forward(self, x, text):
        return super().forward(x, F.normalize(text, dim=-1))


@mutant("order|argument|text|shape")
class TextFirstForTheShuffle(Given):
    """perturb(text, x)."""

    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(text, x)), self.norm2(x)))


@mutant("order|argument|text")
class TextAsTheFirstArgument(Whole):
    """forward(text, x)."""

    def forward(self, text, x):
        return super().forward(x, text)


@mutant("argument|text")
class FeaturesAlone(Given):
    def forward(self, x):
        return self.fed(self.attn(self.norm1(x), self.norm2(x)))


# ---- training and calling ----


@mutant("gradient")
class OriginalDetached(Given):
    """The gradient through the shuffle alone."""

    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(x, text)), self.norm2(x.detach())))


@mutant("gradient")
class ShuffledDetached(Given):
    def forward(self, x, text):
        return self.fed(self.attn(self.norm1(self.perturb(x, text).detach()), self.norm2(x)))


@mutant("gradient")
class ShuffledUnderNoGrad(Given):
    """Indices carry no gradient, but the features that they move do."""

    def forward(self, x, text):
        with torch.no_grad():
            shuffled = self.perturb(x, text)
        return self.fed(self.attn(self.norm1(shuffled), self.norm2(x)))


@mutant("gradient")
class ResidualDetached(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out.detach() + self.ffn(self.norm3(out))


@mutant("gradient")
class FeedForwardDetached(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.ffn(self.norm3(out)).detach()


@mutant("gradient")
class UnderNoGrad(Whole):
    @torch.no_grad()
    def forward(self, x, text):
        return super().forward(x, text)


@mutant("train|mode|eval")
class ShuffledWhileItTrainsOnly(Given):
    def forward(self, x, text):
        shuffled = self.perturb(x, text) if self.training else x
        return self.fed(self.attn(self.norm1(shuffled), self.norm2(x)))


@mutant("train|mode|eval")
class FeedForwardInEvalModeOnly(Given):
    def forward(self, x, text):
        out = self.attended(x, text)
        return out if self.training else self.fed(out)


@mutant("in.place")
class OriginalOverwritten(Given):
    """The skip that the decoder still needs."""

    def forward(self, x, text):
        out = self.fed(self.attended(x, text))
        x.data.copy_(out.detach())
        return out


@mutant("in.place")
class TextOverwritten(Whole):
    def forward(self, x, text):
        out = super().forward(x, text)
        text.data.zero_()
        return out


@mutant("every time|random|dropout")
class WithDropout(Whole):
    def forward(self, x, text):
        return F.dropout(super().forward(x, text), 0.1, self.training)


@mutant("every time|random|fresh|norm")
class FreshNormInForward(Given):
    """norm3 made anew at every call: it never learns."""

    def forward(self, x, text):
        out = self.attended(x, text)
        return out + self.ffn(LayerNorm(x.shape[1])(out))


@mutant("float64|double|dtype")
class DoublePrecision(Whole):
    def forward(self, x, text):
        return super().forward(x, text).double()


@mutant()
class HalfPrecision(Given):
    def forward(self, x, text):
        return self.fed(self.attended(x, text).bfloat16().float())


@mutant("tuple|tensor")
class ResultAndShuffled(Whole):
    def forward(self, x, text):
        return super().forward(x, text), self.perturb(x, text)


@mutant()
class OneImageOnly(Whole):
    def forward(self, x, text):
        return super().forward(x[:1], text[:1])


@mutant()
class FirstImageForAll(Whole):
    def forward(self, x, text):
        return super().forward(x[:1], text[:1]).expand_as(x)


@mutant()
class Clamped(Whole):
    def forward(self, x, text):
        return super().forward(x, text).clamp(0, 1)
