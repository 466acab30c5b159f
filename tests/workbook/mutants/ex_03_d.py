"""Answers to 03-d, features and prompt interact: wrong ones. More in `ex_03_d_training.py`, the right ones in `ex_03_d_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.models.layers import TransformerBlock

from . import Answers

ANSWERS = Answers("03-d")
mutant = ANSWERS.mutant


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__()
        self.block = TransformerBlock(features + width, heads)
        self.reduce = nn.Conv2d(features + width, out_channels, kernel_size=1, bias=False)


@mutant("order|first|features|prompt")
class PromptFirst(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([prompt, x], dim=1)))


@mutant("block|Transformer")
class NoBlock(Given):
    def forward(self, x, prompt):
        return self.reduce(torch.cat([x, prompt], dim=1))


@mutant("reduce|1x1|channel|shape")
class NoReduction(Given):
    def forward(self, x, prompt):
        return self.block(torch.cat([x, prompt], dim=1))


@mutant("reduce|1x1|channel|shape")
class CroppedInsteadOfReduced(Given):
    def forward(self, x, prompt):
        return self.block(torch.cat([x, prompt], dim=1))[:, : self.reduce.out_channels]


@mutant("block|twice")
class BlockTwice(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(self.block(torch.cat([x, prompt], dim=1))))


@mutant("block|residual|add")
class ResidualAroundTheBlock(Given):
    """The block has its own."""

    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(both + self.block(both))


@mutant("residual|add")
class FeaturesAddedWhereTheyFit(Given):
    def forward(self, x, prompt):
        y = self.reduce(self.block(torch.cat([x, prompt], dim=1)))
        return x + y if x.shape == y.shape else y


@mutant()
class FeaturesAddedAndCut(Given):
    def forward(self, x, prompt):
        y = self.reduce(self.block(torch.cat([x, prompt], dim=1)))
        n = min(x.shape[1], y.shape[1])
        return torch.cat([x[:, :n] + y[:, :n], y[:, n:]], dim=1)


@mutant("cat|concat|add|sum|shape")
class SumInsteadOfConcatenation(Given):
    """Runs where both are equally wide."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, 0, out_channels, heads)

    def forward(self, x, prompt):
        return self.reduce(self.block(x + prompt))


@mutant("cat|concat|dim|axis")
class ConcatenatedAlongTheRows(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt], dim=2)))


@mutant("cat|concat|prompt")
class FeaturesTwice(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, x], dim=1)[:, : self.reduce.in_channels]))


@mutant("prompt")
class PromptMadeZero(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, torch.zeros_like(prompt)], dim=1)))


@mutant()
class FeaturesMadeZero(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([torch.zeros_like(x), prompt], dim=1)))


@mutant()
class PromptOfTheFirstImage(Given):
    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt[:1].expand_as(prompt)], dim=1)))


@mutant()
class MeanPrompt(Given):
    def forward(self, x, prompt):
        prompt = prompt.mean(dim=(2, 3), keepdim=True).expand_as(prompt)
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)))


@mutant()
class ChannelsInterleaved(Given):
    """One of the features, one of the prompt, as long as there are both."""

    def forward(self, x, prompt):
        n = min(x.shape[1], prompt.shape[1])
        pairs = torch.stack([x[:, :n], prompt[:, :n]], dim=2).flatten(1, 2)
        return self.reduce(self.block(torch.cat([pairs, x[:, n:], prompt[:, n:]], dim=1)))


@mutant()
class PromptTransposed(Given):
    """Runs for square images."""

    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt.transpose(2, 3)], dim=1)))


@mutant()
class AddedBeforeTheReduction(Given):
    """The block sees the features alone, the prompt follows."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = TransformerBlock(features, heads)

    def forward(self, x, prompt):
        return self.reduce(torch.cat([self.block(x), prompt], dim=1))


@mutant()
class ReducedBeforeTheBlock(Given):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, heads)
        self.block = TransformerBlock(out_channels, heads)

    def forward(self, x, prompt):
        return self.block(self.reduce(torch.cat([x, prompt], dim=1)))


@mutant("head")
class OneHead(Given):
    def __init__(self, features, width, out_channels, heads):
        super().__init__(features, width, out_channels, 1)

    def forward(self, x, prompt):
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)))


@mutant()
class HeadsSetToOneInTheForward(Given):
    """All parameters as they should be, one of the heads' temperatures for all channels."""

    def forward(self, x, prompt):
        attention = self.block.attn
        for name, value in vars(attention).items():
            if isinstance(value, int) and not isinstance(value, bool) and name == "heads":
                attention.heads = 1
        return self.reduce(self.block(torch.cat([x, prompt], dim=1)))


@mutant()
class AttentionOnly(Given):
    """Without the feed-forward half."""

    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(both + self.block.attn(self.block.norm1(both)))


@mutant()
class FeedForwardOnly(Given):
    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(both + self.block.ffn(self.block.norm2(both)))


@mutant()
class ChangeOnly(Given):
    """What the block adds, without what it adds it to."""

    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        return self.reduce(self.block(both) - both)


@mutant()
class OneNormForBoth(Given):
    """norm1 and norm2 start the same."""

    def forward(self, x, prompt):
        both = torch.cat([x, prompt], dim=1)
        both = both + self.block.attn(self.block.norm1(both))
        return self.reduce(both + self.block.ffn(self.block.norm1(both)))


@mutant("relu|activation")
class ReluAfterwards(Given):
    def forward(self, x, prompt):
        return F.relu(self.reduce(self.block(torch.cat([x, prompt], dim=1))))


@mutant()
class ReducedOnEveryOtherPixel(Given):
    def forward(self, x, prompt):
        y = F.conv2d(self.block(torch.cat([x, prompt], dim=1)), self.reduce.weight, stride=2)
        return F.interpolate(y, x.shape[2:])
