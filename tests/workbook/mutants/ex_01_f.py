"""Answers to 01-f, the Transformer block: wrong ones. The right ones stand in `ex_01_f_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.workbook.exercises import get_exercise

from . import Answers

ANSWERS = Answers("01-f")
mutant = ANSWERS.mutant
my_attention = get_exercise("01-d").reference_piece  # what a student has at hand at that point of the lesson


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, dim, heads, attention=my_attention):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))


@mutant("norm|inside|before|pre")
class NormAfterTheSum(Given):
    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


@mutant("norm|before|inside")
class NormAfterTheBranch(Given):
    def forward(self, x):
        x = x + self.norm1(self.attention(x))
        return x + self.norm2(self.mlp(x))


@mutant("norm|residual|untouched|x")
class ResidualFromTheNorm(Given):
    def forward(self, x):
        x = self.norm1(x)
        x = x + self.attention(x)
        x = self.norm2(x)
        return x + self.mlp(x)


@mutant("norm")
class NoNorms(Given):
    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


@mutant("norm1|norm")
class NoFirstNorm(Given):
    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(self.norm2(x))


@mutant("norm2|norm")
class NoSecondNorm(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(x)


@mutant("norm2|norm1|own")
class FirstNormTwice(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm1(x))


@mutant()
class SecondNormTwice(Given):
    def forward(self, x):
        x = x + self.attention(self.norm2(x))
        return x + self.mlp(self.norm2(x))


@mutant("norm2|norm1|swap|norm")
class NormsSwapped(Given):
    def forward(self, x):
        x = x + self.attention(self.norm2(x))
        return x + self.mlp(self.norm1(x))


@mutant("residual|add|x \\+")
class NoResiduals(Given):
    def forward(self, x):
        return self.mlp(self.norm2(self.attention(self.norm1(x))))


@mutant("residual|add|x \\+")
class NoFirstResidual(Given):
    def forward(self, x):
        x = self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("residual|add|x \\+")
class NoSecondResidual(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return self.mlp(self.norm2(x))


@mutant("residual|first|new x|updated|x")
class SecondResidualFromTheStart(Given):
    def forward(self, x):
        y = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(y))


@mutant()
class ResidualDoubled(Given):
    def forward(self, x):
        y = x + self.attention(self.norm1(x))
        return x + y + self.mlp(self.norm2(y))


@mutant()
class OneResidualAroundBoth(Given):
    def forward(self, x):
        return x + self.mlp(self.norm2(self.attention(self.norm1(x))))


@mutant()
class ResidualsAveraged(Given):
    def forward(self, x):
        x = (x + self.attention(self.norm1(x))) / 2
        return (x + self.mlp(self.norm2(x))) / 2


@mutant()
class Subtracted(Given):
    def forward(self, x):
        x = x - self.attention(self.norm1(x))
        return x - self.mlp(self.norm2(x))


@mutant("after|parallel|updated|new x|result of")
class SideBySide(Given):
    def forward(self, x):
        return x + self.attention(self.norm1(x)) + self.mlp(self.norm2(x))


@mutant()
class MlpOfTheSameTokens(Given):
    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y)
        return x + self.mlp(y)


@mutant("first|order|attention")
class MlpFirst(Given):
    def forward(self, x):
        x = x + self.mlp(self.norm2(x))
        return x + self.attention(self.norm1(x))


@mutant("attention")
class NoAttention(Given):
    def forward(self, x):
        return x + self.mlp(self.norm2(x))


@mutant("mlp")
class NoMlp(Given):
    def forward(self, x):
        return x + self.attention(self.norm1(x))


@mutant()
class ReluForGelu(Given):
    def __init__(self, dim, heads, attention=my_attention):
        super().__init__(dim, heads, attention)
        self.mlp[1] = nn.ReLU()

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant()
class NoActivation(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp[2](self.mlp[0](self.norm2(x)))


@mutant()
class FreshNorms(Given):
    def forward(self, x):
        x = x + self.attention(nn.LayerNorm(x.shape[-1])(x))
        return x + self.mlp(nn.LayerNorm(x.shape[-1])(x))


@mutant()
class NormOverTheTokens(Given):
    def forward(self, x):
        y = F.layer_norm(x.mT, x.shape[1:2]).mT * self.norm1.weight + self.norm1.bias
        x = x + self.attention(y)
        return x + self.mlp(self.norm2(x))


@mutant("head")
class OneHeadOnly(Given):
    def __init__(self, dim, heads, attention=my_attention):
        super().__init__(dim, 1, attention)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("gradient")
class BranchesDetached(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x)).detach()
        return x + self.mlp(self.norm2(x))


@mutant("gradient")
class AttentionUnderNoGrad(Given):
    def forward(self, x):
        with torch.no_grad():
            y = self.attention(self.norm1(x))
        x = x + y
        return x + self.mlp(self.norm2(x))


@mutant("gradient")
class StreamDetached(Given):
    def forward(self, x):
        x = x.detach() + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("in.place")
class AddedInPlace(Given):
    def forward(self, x):
        x += self.attention(self.norm1(x))
        x += self.mlp(self.norm2(x))
        return x


@mutant("every time|random|dropout")
class WithDropout(Given):
    def forward(self, x):
        x = x + F.dropout(self.attention(self.norm1(x)), 0.1)
        return x + F.dropout(self.mlp(self.norm2(x)), 0.1)


@mutant("list|tuple|tensor")
class TokensInAList(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return [token + self.mlp(self.norm2(token)) for token in x.unbind(1)]


@mutant("attention")
class AttentionArgumentIgnored(Given):
    """Builds the layer that it knows, whatever it is handed: the control without attention would have it too."""

    def __init__(self, dim, heads, attention=None):
        super().__init__(dim, heads)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("attention|argument")
class NoThirdArgument(Given):
    def __init__(self, dim, heads):
        super().__init__(dim, heads)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("float64|dtype|double")
class DoublePrecision(Given):
    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return (x + self.mlp(self.norm2(x))).double()


@mutant()
class GeluByTanh(Given):
    def __init__(self, dim, heads, attention=my_attention):
        super().__init__(dim, heads, attention)
        self.mlp[1] = nn.GELU(approximate="tanh")

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mutant("__init__")
class FourTimesAsWide(Given):
    def __init__(self, dim, heads, attention=my_attention):
        super().__init__(dim, heads, attention)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))
