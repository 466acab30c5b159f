"""Answers to 06-d: more wrong ones. Layers as they must not be, and modules that cannot be trained or called as asked."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .ex_06_d import ANSWERS, Whole, masked_softmax

mutant = ANSWERS.mutant


def conv(channels, out, kernel=1, groups=1, bias=False):
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=bias)


@mutant("bias")
class ConvolutionsWithBias(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.q, self.kv, self.project_out = conv(channels, channels, bias=True), conv(channels, 2 * channels, bias=True), nn.Identity()
        self.project_out = conv(channels, channels, bias=True)


@mutant("group|depthwise|shape")
class DepthwiseForgotten(Whole):
    """3x3 over all channels."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.q_dwconv, self.kv_dwconv = conv(channels, channels, 3), conv(2 * channels, 2 * channels, 3)


@mutant("padding|shape|size|invalid")
class PaddingForgotten(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.q_dwconv = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * channels, 2 * channels, 3, groups=2 * channels, bias=False)


@mutant("padding|edge|border")
class PaddingByReflection(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.kv_dwconv = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False, padding_mode="reflect")


@mutant("kv|missing|name|belong")
class KeyAndValueApart(Whole):
    """Two convolutions each; shipped weights have one for both."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.kv, self.kv_dwconv
        self.k, self.v = conv(channels, channels), conv(channels, channels)
        self.k_dwconv, self.v_dwconv = conv(channels, channels, 3, channels), conv(channels, channels, 3, channels)

    def key_and_value(self, x):
        return self.k_dwconv(self.k(x)), self.v_dwconv(self.v(x))


@mutant("qkv|missing|name|belong|q, ")
class OneConvolutionForAll(Whole):
    """MDTA's qkv."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.q, self.kv, self.q_dwconv, self.kv_dwconv
        self.qkv, self.qkv_dwconv = conv(channels, 3 * channels), conv(3 * channels, 3 * channels, 3, 3 * channels)

    def query(self, shuffled):
        return self.qkv_dwconv(self.qkv(shuffled)).chunk(3, dim=1)[0]

    def key_and_value(self, x):
        return self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)[1:]


@mutant("scale|missing")
class ScaleLeftOut(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.scale

    def scaled(self, out):
        return out


@mutant("scale|Parameter")
class ScaleAsAPlainTensor(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.scale
        self.scale = torch.tensor([0.2])


@mutant("scale|Parameter|buffer")
class ScaleAsABuffer(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.scale
        self.register_buffer("scale", torch.tensor([0.2]))


@mutant("scale|shape")
class ScaleOfEachHead(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), 0.2))

    def forward(self, shuffled, x):
        out = self.attend(self.query(shuffled), *self.key_and_value(x))
        return self.project_out((self.split(out) * self.scale).reshape(x.shape))


@mutant("scale|shape")
class ScaleWithoutAnAxis(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.scale = nn.Parameter(torch.tensor(0.2))


@mutant("scale|0.2|start")
class ScaleStartsAtOne(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.scale = nn.Parameter(torch.ones(1))


@mutant("scale|0.2|start")
class ScaleStartsAtZero(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.scale = nn.Parameter(torch.zeros(1))


@mutant("scale|0.2|start|random")
class ScaleStartsAtRandom(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.scale = nn.Parameter(torch.rand(1))


@mutant("temperature|one|start|1")
class TemperatureStartsAtTheRootOfD(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), (channels / heads) ** -0.5))


@mutant("temperature|one|start|1")
class TemperatureStartsAtZero(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.temperature = nn.Parameter(torch.zeros(heads, 1, 1))


@mutant("temperature|head|shape")
class OneTemperatureForAllHeads(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.temperature = nn.Parameter(torch.ones(1))


@mutant("temperature|shape")
class TemperatureOfOneAxis(Whole):
    """(n,): lies along the columns of the map where it fits."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.temperature = nn.Parameter(torch.ones(heads))

    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature[:, None, None]


@mutant("temperature|Parameter")
class TemperatureAsAPlainTensor(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        del self.temperature
        self.temperature = torch.ones(heads, 1, 1)


@mutant("gamma|0.9|default")
class GammaOfOneHalfByDefault(Whole):
    def __init__(self, channels, heads, gamma=0.5):
        super().__init__(channels, heads, gamma)


@mutant("gamma|default|without")
class GammaWithoutADefault(Whole):
    """DFPIR makes it of (channels, heads)."""

    def __init__(self, channels, heads, gamma):
        super().__init__(channels, heads, gamma)


@mutant("gamma|argument|three|third")
class GammaNotTaken(Whole):
    def __init__(self, channels, heads):
        super().__init__(channels, heads)


@mutant("gamma|parameter|belong")
class GammaThatLearns(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.gamma = nn.Parameter(torch.tensor(gamma))

    def weigh(self, scores):
        return masked_softmax(scores, float(self.gamma))


@mutant("order|argument|channel|head|shape|divi")
class HeadsBeforeChannels(Whole):
    """__init__(heads, channels)."""

    def __init__(self, heads, channels, gamma=0.9):
        super().__init__(channels, heads, gamma)


@mutant("head")
class OneHeadAtAnyRate(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, 1, gamma)


@mutant("head")
class EightHeads(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, 8 if channels % 8 == 0 else 1, gamma)


@mutant("list|parameter|missing|register")
class LayersInAList(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.hidden = [self.q, self.q_dwconv]
        del self.q, self.q_dwconv

    def query(self, shuffled):
        return self.hidden[1](self.hidden[0](shuffled))


@mutant("frozen|requires_grad|gradient|train")
class TemperatureFrozen(Whole):
    def __init__(self, channels, heads, gamma=0.9):
        super().__init__(channels, heads, gamma)
        self.temperature.requires_grad_(False)


@mutant("gradient")
class ShuffledDetached(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled.detach(), x)


@mutant("gradient")
class OriginalDetached(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled, x.detach())


@mutant("gradient")
class WeightsDetached(Whole):
    def weigh(self, scores):
        return super().weigh(scores).detach()


@mutant("gradient|key")
class KeyDetached(Whole):
    def key_and_value(self, x):
        k, v = super().key_and_value(x)
        return k.detach(), v


@mutant("gradient|length|norm")
class LengthsDetached(Whole):
    def normalise(self, part):
        return part / part.norm(dim=-1, keepdim=True).clamp_min(1e-12).detach()


@mutant("gradient|temperature")
class TemperatureAsData(Whole):
    def scores(self, q, k):
        return self.normalise(q) @ self.normalise(k).mT * self.temperature.data


@mutant("gradient|scale")
class ScaleAsANumber(Whole):
    def scaled(self, out):
        return out * self.scale.item()


@mutant("gradient")
class UnderNoGrad(Whole):
    @torch.no_grad()
    def forward(self, shuffled, x):
        return super().forward(shuffled, x)


@mutant("gradient")
class MaskedStraightThrough(Whole):
    """The masked weights' values, the plain softmax's gradient."""

    def weigh(self, scores):
        soft = scores.softmax(dim=-1)
        return soft + (super().weigh(scores) - soft).detach()


@mutant("train|mode|eval")
class MaskWhileItTrainsOnly(Whole):
    def weigh(self, scores):
        return super().weigh(scores) if self.training else scores.softmax(dim=-1)


@mutant("train|mode|eval")
class MaskInEvalModeOnly(Whole):
    def weigh(self, scores):
        return scores.softmax(dim=-1) if self.training else super().weigh(scores)


@mutant("every time|random|dropout")
class WithDropout(Whole):
    def weigh(self, scores):
        return F.dropout(super().weigh(scores), 0.1, self.training)


@mutant()
class FreshLayerInForward(Whole):
    def query(self, shuffled):
        C = shuffled.shape[1]
        return self.q_dwconv(nn.Conv2d(C, C, 1, bias=False)(shuffled))


@mutant("in.place")
class OriginalOverwritten(Whole):
    def forward(self, shuffled, x):
        y = super().forward(shuffled, x)
        x.data.copy_(y.detach())
        return y


@mutant("in.place")
class ShuffledOverwritten(Whole):
    def forward(self, shuffled, x):
        y = super().forward(shuffled, x)
        shuffled.data.zero_()
        return y


@mutant("in.place|weight|optimiser")
class TemperatureClampedInPlace(Whole):
    def forward(self, shuffled, x):
        self.temperature.data.clamp_(max=0.5)
        return super().forward(shuffled, x)


@mutant("float64|double|dtype")
class DoublePrecision(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled, x).double()


@mutant()
class HalfPrecision(Whole):
    def weigh(self, scores):
        return super().weigh(scores).bfloat16().float()


@mutant("tuple|tensor")
class ResultAndWeights(Whole):
    def forward(self, shuffled, x):
        q, k = self.split(self.query(shuffled)), self.split(self.key_and_value(x)[0])
        return super().forward(shuffled, x), self.weigh(self.scores(q, k))


@mutant()
class WeightsOfTheFirstImage(Whole):
    def weigh(self, scores):
        return super().weigh(scores[:1]).expand_as(scores)


@mutant()
class OneImageOnly(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled[:1], x[:1])


@mutant()
class FirstImageForAll(Whole):
    def forward(self, shuffled, x):
        return super().forward(shuffled[:1], x[:1]).expand_as(x)


@mutant()
class SquarePicturesOnly(Whole):
    def attend(self, q, k, v):
        B, C, H, W = v.shape
        side = math.isqrt(H * W)
        q, k, v = map(self.split, (q, k, v))
        return (self.weigh(self.scores(q, k)) @ v).reshape(B, C, side, side)


@mutant()
class SizesWrittenDown(Whole):
    def split(self, part):
        return part.reshape(-1, self.heads, 48 // self.heads, 64 * 64)


@mutant()
class HeightAndWidthSwapped(Whole):
    def attend(self, q, k, v):
        B, C, H, W = v.shape
        return super().attend(q, k, v).reshape(B, C, W, H).transpose(2, 3)


@mutant("order|argument|shuffled|first")
class OriginalAsTheFirstArgument(Whole):
    """forward(x, shuffled)."""

    def forward(self, x, shuffled):
        return super().forward(shuffled, x)


@mutant("forward|argument|x")
class OneFeatureAlone(Whole):
    def forward(self, shuffled):
        return super().forward(shuffled, shuffled)


@mutant("Module")
def a_function(channels, heads, gamma=0.9):
    return lambda shuffled, x: x
