"""Answers to 06-d, attention between two features: wrong ones. More in `ex_06_d_training.py`, the right ones in `ex_06_d_right.py`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import Answers
from .ex_06_c import mask_of, softmax_where
from .ex_06_c import right as masked_softmax  # 06-c's, which a student has at hand

ANSWERS = Answers("06-d")
mutant = ANSWERS.mutant


class Given(nn.Module):
    """The seven parts of the exercise."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__()
        self.heads, self.gamma = heads, gamma
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.scale = nn.Parameter(torch.tensor([0.2]))
        self.q = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.q_dwconv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False)
        self.kv = nn.Conv2d(channels, 2 * channels, kernel_size=1, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * channels, 2 * channels, kernel_size=3, padding=1, groups=2 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, kernel_size=1, bias=False)


class Whole(Given):
    """Right, in steps: what most answers here spoil in one of them."""

    def query(self, shuffled):
        return self.q_dwconv(self.q(shuffled))

    def key_and_value(self, x):
        return self.kv_dwconv(self.kv(x)).chunk(2, dim=1)

    def split(self, part):
        """(B, C, H, W) -> (B, n, d, L)."""
        B, C, H, W = part.shape
        return part.reshape(B, self.heads, C // self.heads, H * W)

    def normalise(self, part):
        return F.normalize(part, dim=-1)

    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature

    def weigh(self, scores):
        return masked_softmax(scores, self.gamma)

    def scaled(self, out):
        return out * self.scale

    def attend(self, q, k, v):
        """Three (B, C, H, W) -> the same, before the scale and the projection."""
        shape = v.shape
        q, k, v = map(self.split, (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).reshape(shape)

    def forward(self, shuffled, x):
        return self.project_out(self.scaled(self.attend(self.query(shuffled), *self.key_and_value(x))))


# ---- from which feature ----


@mutant("query|shuffled|original|swap")
class QueryFromTheOriginal(Whole):
    """q and k/v swapped."""

    def forward(self, shuffled, x):
        return super().forward(x, shuffled)


@mutant("query|shuffled|original")
class AllFromTheShuffled(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled, shuffled)


@mutant("query|shuffled|original")
class AllFromTheOriginal(Whole):
    def forward(self, shuffled, x):
        return super().forward(x, x)


@mutant("key|shuffled|original")
class KeyFromTheShuffled(Whole):
    def forward(self, shuffled, x):
        k = self.key_and_value(shuffled)[0]
        v = self.key_and_value(x)[1]
        return self.project_out(self.scaled(self.attend(self.query(shuffled), k, v)))


@mutant("value|shuffled|original")
class ValueFromTheShuffled(Whole):
    def forward(self, shuffled, x):
        k = self.key_and_value(x)[0]
        v = self.key_and_value(shuffled)[1]
        return self.project_out(self.scaled(self.attend(self.query(shuffled), k, v)))


@mutant()
class BothAdded(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled + x, shuffled + x)


@mutant()
class KeysOfBothAveraged(Whole):
    def forward(self, shuffled, x):
        k, v = self.key_and_value(x)
        return self.project_out(self.scaled(self.attend(self.query(shuffled), (k + self.key_and_value(shuffled)[0]) / 2, v)))


@mutant("key|value|half|order|first")
class ValueBeforeKey(Whole):
    def key_and_value(self, x):
        return super().key_and_value(x)[::-1]


@mutant("key|value|half|chunk|split")
class KeyAndValueInterleaved(Whole):
    def key_and_value(self, x):
        kv = self.kv_dwconv(self.kv(x))
        return kv[:, ::2], kv[:, 1::2]


@mutant("value|key")
class KeyAsValue(Whole):
    def key_and_value(self, x):
        k, _ = super().key_and_value(x)
        return k, k


@mutant("value|key")
class ValueAsKey(Whole):
    def key_and_value(self, x):
        _, v = super().key_and_value(x)
        return v, v


@mutant("value")
class PlainFeaturesAsValue(Whole):
    def forward(self, shuffled, x):
        k, _ = self.key_and_value(x)
        return self.project_out(self.scaled(self.attend(self.query(shuffled), k, x)))


@mutant("depthwise|dwconv")
class NoDepthwiseForTheQuery(Whole):
    def query(self, shuffled):
        return self.q(shuffled)


@mutant("depthwise|dwconv")
class NoDepthwiseForKeyAndValue(Whole):
    def key_and_value(self, x):
        return self.kv(x).chunk(2, dim=1)


@mutant("depthwise|dwconv")
class NoDepthwise(NoDepthwiseForKeyAndValue):
    def query(self, shuffled):
        return self.q(shuffled)


@mutant("depthwise|dwconv|order|first")
class DepthwiseFirst(Whole):
    def query(self, shuffled):
        return self.q(self.q_dwconv(shuffled))


@mutant("1x1|query|self.q|mix")
class NoPointwiseForTheQuery(Whole):
    def query(self, shuffled):
        return self.q_dwconv(shuffled)


@mutant()
class QueryAddedToItsFeature(Whole):
    def query(self, shuffled):
        return shuffled + super().query(shuffled)


@mutant("activation|relu")
class ReluOfTheQuery(Whole):
    def query(self, shuffled):
        return F.relu(super().query(shuffled))


# ---- heads ----


@mutant("head")
class HeadsInterleaved(Whole):
    """Channel c belongs to head c mod n."""

    def attend(self, q, k, v):
        B, C, H, W = v.shape
        q, k, v = (part.reshape(B, C // self.heads, self.heads, H * W).transpose(1, 2) for part in (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).transpose(1, 2).reshape(B, C, H, W)


@mutant("head")
class HeadsJoinedInterleaved(Whole):
    def attend(self, q, k, v):
        shape = v.shape
        q, k, v = map(self.split, (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).transpose(1, 2).reshape(shape)


@mutant("head|half|chunk|split")
class HeadsBeforeKeyAndValue(Whole):
    """kv cut into heads first, each head's share into key and value then."""

    def key_and_value(self, x):
        kv = self.split(self.kv_dwconv(self.kv(x)))
        k, v = kv.chunk(2, dim=2)
        return k.reshape(x.shape), v.reshape(x.shape)


@mutant("head")
class OneHead(Whole):
    def split(self, part):
        return part.flatten(2)[:, None]

    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature[:1]


@mutant("head")
class HeadsCutTheWidth(Whole):
    """(B, C, H, W) -> (B, n, C, L / n) where it divides."""

    def attend(self, q, k, v):
        shape, n = v.shape, self.heads
        q, k, v = (part.flatten(2).reshape(len(part), n, -1, math.gcd(shape[2] * shape[3], shape[3])) for part in (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).reshape(shape)


# ---- scores ----


@mutant("normali|length")
class PlainProducts(Whole):
    def normalise(self, part):
        return part


@mutant("normali|length|dim|pixel|axis")
class NormalisedOverTheChannels(Whole):
    def normalise(self, part):
        return F.normalize(part, dim=-2)


@mutant("normali|length|dim|pixel|axis")
class NormalisedOverTheHeads(Whole):
    """F.normalize's default, dim=1."""

    def normalise(self, part):
        return F.normalize(part)


@mutant("normali|length|dim|pixel|axis")
class NormalisedBeforeTheSplit(Whole):
    """Over all channels of a pixel."""

    def forward(self, shuffled, x):
        k, v = self.key_and_value(x)
        q, k = F.normalize(self.query(shuffled), dim=1), F.normalize(k, dim=1)
        return self.project_out(self.scaled(self.attend(q, k, v)))

    def normalise(self, part):
        return part


@mutant("normali|length|key")
class QueryNormalisedAlone(Whole):
    def scores(self, q, k):
        return F.normalize(q, dim=-1) @ k.mT * self.temperature


@mutant("normali|length|query")
class KeyNormalisedAlone(Whole):
    def scores(self, q, k):
        return q @ F.normalize(k, dim=-1).mT * self.temperature


@mutant("normali|length|value")
class ValueNormalisedToo(Whole):
    def attend(self, q, k, v):
        shape = v.shape
        q, k, v = map(self.split, (q, k, v))
        return (self.weigh(self.scores(q, k)) @ self.normalise(v)).reshape(shape)


@mutant()
class NormalisedByTheSumOfSizes(Whole):
    def normalise(self, part):
        return F.normalize(part, p=1, dim=-1)


@mutant()
class NormalisedToMeanAndDeviation(Whole):
    """Correlation for the cosine."""

    def normalise(self, part):
        return F.normalize(part - part.mean(dim=-1, keepdim=True), dim=-1)


@mutant("normali|length|square|root")
class DividedByTheSquaredLength(Whole):
    def normalise(self, part):
        return part / part.square().sum(dim=-1, keepdim=True)


@mutant("temperature")
class NoTemperature(Whole):
    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT + 0 * self.temperature


@mutant("temperature|divi|multipl")
class DividedByTheTemperature(Whole):
    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT / self.temperature


@mutant("temperature")
class TemperatureAfterTheSoftmax(Whole):
    def weigh(self, scores):
        return super().weigh(scores / self.temperature) * self.temperature


@mutant("temperature")
class TemperatureAdded(Whole):
    """A softmax does not see what is added to all."""

    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT + self.temperature


@mutant("temperature|head")
class TemperatureOfTheFirstHead(Whole):
    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature[0]


@mutant("temperature|head|mean")
class MeanTemperature(Whole):
    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature.mean()


@mutant("sqrt|divi|root|scale")
class ScaledOnceMore(Whole):
    def scores(self, q, k):
        return super().scores(q, k) / math.sqrt(q.shape[2])


@mutant("transpos|query|rows|key")
class ScoresTransposed(Whole):
    def scores(self, q, k):
        return super().scores(q, k).mT


@mutant("transpos|map|weights|rows")
class WeightsTransposed(Whole):
    def weigh(self, scores):
        return super().weigh(scores).mT


@mutant()
class TokensInsteadOfChannels(Whole):
    """A map of L x L."""

    def attend(self, q, k, v):
        shape = v.shape
        q, k, v = (self.split(part).mT for part in (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).mT.reshape(shape)


@mutant()
class Distances(Whole):
    def scores(self, q, k):
        return -torch.cdist(self.normalise(q), self.normalise(k)) * self.temperature


# ---- mask and softmax ----


@mutant("mask|gamma|top")
class NoMask(Whole):
    def weigh(self, scores):
        return scores.softmax(dim=-1)


@mutant("gamma|0.9")
class GammaIgnored(Whole):
    def weigh(self, scores):
        return masked_softmax(scores, 0.9)


@mutant("mask|minus infinity|-inf|multipl|before")
class MaskMultiplied(Whole):
    """The paper's form."""

    def weigh(self, scores):
        return (scores * mask_of(scores, max(1, int(scores.shape[-1] * self.gamma)))).softmax(dim=-1)


@mutant("mask|softmax|1|renormal|before")
class MaskAfterTheSoftmax(Whole):
    def weigh(self, scores):
        return scores.softmax(dim=-1) * mask_of(scores, max(1, int(scores.shape[-1] * self.gamma)))


@mutant("mask|row|column|dim|axis")
class ColumnsMasked(Whole):
    def weigh(self, scores):
        mask = mask_of(scores, max(1, int(scores.shape[-1] * self.gamma)), dim=-2)
        return softmax_where(scores, mask | mask_of(scores, 1))


@mutant("mask|largest|smallest")
class SmallestKept(Whole):
    def weigh(self, scores):
        return softmax_where(scores, mask_of(scores, max(1, int(scores.shape[-1] * self.gamma)), largest=False))


@mutant("head|count|d|gamma")
class CountedByAllChannels(Whole):
    """int(C * gamma) of the d channels of a head: with several heads, all."""

    def weigh(self, scores):
        d = scores.shape[-1]
        return softmax_where(scores, mask_of(scores, min(d, max(1, int(d * (self.heads + 1) * self.gamma)))))


@mutant()
class MaskOfTheUnscaledCosineSize(Whole):
    """Largest without regard to sign."""

    def weigh(self, scores):
        return softmax_where(scores, mask_of(scores.abs(), max(1, int(scores.shape[-1] * self.gamma))))


@mutant("softmax|dim|row|key|axis")
class SoftmaxOverTheQueries(Whole):
    def weigh(self, scores):
        return masked_softmax(scores.mT, self.gamma).mT


@mutant("softmax")
class NoSoftmax(Whole):
    def weigh(self, scores):
        return scores * mask_of(scores, max(1, int(scores.shape[-1] * self.gamma)))


@mutant("relu|softmax")
class ReluForSoftmax(Whole):
    """As in sparse attention of another kind."""

    def weigh(self, scores):
        return F.relu(scores)


# ---- after the attention ----


@mutant("scale")
class NoScale(Whole):
    def scaled(self, out):
        return out + 0 * self.scale


@mutant("scale|divi|multipl")
class DividedByTheScale(Whole):
    def scaled(self, out):
        return out / self.scale


@mutant("scale|twice|square")
class ScaledTwice(Whole):
    def scaled(self, out):
        return out * self.scale**2


@mutant("scale|add|multipl")
class ScaleAdded(Whole):
    def scaled(self, out):
        return out + self.scale


@mutant("scale|score|softmax|after")
class ScaleInTheScores(Whole):
    def scores(self, q, k):
        return super().scores(q, k) * self.scale

    def scaled(self, out):
        return out


@mutant("scale|1 \\+|residual|alone")
class ScaleAddedToOne(Whole):
    def scaled(self, out):
        return out * (1 + self.scale)


@mutant("scale|0.2|learn|constant")
class ScaleWrittenDown(Whole):
    def scaled(self, out):
        return out * 0.2


@mutant("project_out|1x1|projection")
class NoProjection(Whole):
    def forward(self, shuffled, x):
        return self.scaled(self.attend(self.query(shuffled), *self.key_and_value(x)))


@mutant("project_out|1x1|projection|transpos")
class ProjectionTransposed(Whole):
    def forward(self, shuffled, x):
        out = self.scaled(self.attend(self.query(shuffled), *self.key_and_value(x)))
        return F.conv2d(out, self.project_out.weight.transpose(0, 1))


@mutant("project_out|value|before|order|after")
class ProjectedBeforeTheAttention(Whole):
    def forward(self, shuffled, x):
        k, v = self.key_and_value(x)
        return self.scaled(self.attend(self.query(shuffled), k, self.project_out(v)))


@mutant("residual|add|x \\+")
class OriginalAdded(Whole):
    def forward(self, shuffled, x):
        return x + super().forward(shuffled, x)


@mutant("residual|add|shuffled \\+")
class ShuffledAdded(Whole):
    def forward(self, shuffled, x):
        return shuffled + super().forward(shuffled, x)


@mutant("residual|add|value")
class ValueAdded(Whole):
    def forward(self, shuffled, x):
        k, v = self.key_and_value(x)
        return self.project_out(v + self.scaled(self.attend(self.query(shuffled), k, v)))


@mutant()
class QueryAddedToTheResult(Whole):
    def forward(self, shuffled, x):
        q = self.query(shuffled)
        return self.project_out(q + self.scaled(self.attend(q, *self.key_and_value(x))))


@mutant("activation|gelu|relu")
class ActivationAfterwards(Whole):
    def forward(self, shuffled, x):
        return F.gelu(super().forward(shuffled, x))


@mutant("norm")
class NormedInside(Whole):
    """The block has seen to the norms already."""

    def forward(self, shuffled, x):
        shuffled, x = (F.layer_norm(y.movedim(1, -1), y.shape[1:2]).movedim(-1, 1) for y in (shuffled, x))
        return super().forward(shuffled, x)
