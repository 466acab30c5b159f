"""Answers to 03-d: more wrong ones. Layers as they must not be, and modules that cannot be trained or called as asked."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.layers import TransformerBlock

from .ex_03_d import ANSWERS, Given

mutant = ANSWERS.mutant


class Whole(Given):
    """Right: what most answers here spoil."""

    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)))


@mutant("bias")
class ReductionWithBias(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.reduce = nn.Conv2d(features + width, out_channels, 1)


@mutant("1x1|shape|kernel|reduce")
class ReductionOfThreePixels(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.reduce = nn.Conv2d(features + width, out_channels, 3, padding=1, bias=False)


@mutant("out_channels|channel|shape")
class ReducedToTheFeatures(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, features, heads)


@mutant("out_channels|channel|shape")
class ReducedToHalfTheFeatures(Whole):
    """As at the latent, 8C -> 4C."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, features // 2, heads)


@mutant("head")
class EightHeads(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, 8 if (features + width) % 8 == 0 else 1)


@mutant("expansion|shape|block")
class ExpansionOfTwo(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = TransformerBlock(features + width, heads, expansion=2)


@mutant("bias|block")
class BlockWithBiases(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = TransformerBlock(features + width, heads, bias=True)


@mutant("norm|bias|block")
class NormsWithoutBias(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = TransformerBlock(features + width, heads, norm_bias=False)


@mutant("block|Transformer|__init__")
class TwoBlocks(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = nn.Sequential(*(TransformerBlock(features + width, heads) for _ in range(2)))


@mutant("parameter|list|register|block|__init__|Module")
class BlockInAList(Given):
    """Hidden from `parameters()`: it never learns."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.hidden = [self.block]
        del self.block

    def forward(self, x, prompt):
        return self.reduce(self.hidden[0](torch.cat([x, prompt], dim=1)))


@mutant("gradient|train|frozen|learn")
class BlockFrozen(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block.requires_grad_(False)


@mutant("gradient|train|frozen|learn|reduce")
class ReductionFrozen(Whole):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.reduce.requires_grad_(False)


@mutant("gradient|prompt")
class PromptDetached(Whole):
    def forward(self, x, prompt):
        return super().forward(x, prompt.detach())


@mutant("gradient")
class FeaturesDetached(Whole):
    def forward(self, x, prompt):
        return super().forward(x.detach(), prompt)


@mutant("gradient")
class BlockDetached(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)).detach())


@mutant("gradient|reduce")
class ReductionTakenAsData(Given):
    def forward(self, x, prompt):
        return F.conv2d(self.block(torch.cat([x, prompt], dim=1)), self.reduce.weight.data)


@mutant("gradient")
class UnderNoGrad(Whole):
    @torch.no_grad()
    def forward(self, x, prompt):
        return super().forward(x, prompt)


@mutant()
class BlockInTrainingOnly(Given):
    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(self.block(both) if self.training else both)


@mutant()
class BlockInEvalModeOnly(Given):
    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(both if self.training else self.block(both))


@mutant("every time|random|forward|reduce")
class FreshReductionInForward(Given):
    def forward(self, x, prompt):
        both = self.block(torch.cat([x, prompt], dim=1))
        return nn.Conv2d(both.shape[1], self.reduce.out_channels, 1, bias=False)(both)


@mutant("every time|random|dropout")
class WithDropout(Whole):
    def forward(self, x, prompt):
        return F.dropout(super().forward(x, prompt), 0.1, self.training)


@mutant()
class SizesWrittenDown(Given):
    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1).reshape(-1, self.reduce.in_channels, 16, 16)
        return self.reduce(self.block(both))


@mutant()
class OneImageOnly(Whole):
    def forward(self, x, prompt):
        return super().forward(x[:1], prompt[:1])


@mutant()
class FirstImageForAll(Whole):
    def forward(self, x, prompt):
        return super().forward(x[:1], prompt[:1]).expand(len(x), -1, -1, -1)


@mutant("in.place")
class FeaturesOverwritten(Whole):
    def forward(self, x, prompt):
        y = super().forward(x, prompt)
        x.data.zero_()
        return y


@mutant("in.place")
class PromptOverwritten(Whole):
    def forward(self, x, prompt):
        y = super().forward(x, prompt)
        prompt.data.mul_(2)
        return y


@mutant("float64|dtype|double")
class DoublePrecision(Whole):
    def forward(self, x, prompt):
        return super().forward(x, prompt).double()


@mutant()
class HalfPrecision(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)).bfloat16().float())


@mutant("tuple|tensor")
class ResultAndPrompt(Whole):
    def forward(self, x, prompt):
        return super().forward(x, prompt), prompt


@mutant("forward|argument|prompt")
class FeaturesAlone(Given):
    def forward(self, x):
        return self.reduce(self.block(x))


@mutant("order|argument|prompt|features|channel")
class PromptAsTheFirstArgument(Whole):
    """forward(prompt, x)."""

    def forward(self, prompt, x):
        return super().forward(x, prompt)


@mutant("Module")
def a_function(features, width, out_channels, heads):
    return lambda x, prompt: x.new_zeros(len(x), out_channels, *x.shape[2:])
