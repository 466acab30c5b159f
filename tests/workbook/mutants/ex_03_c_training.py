"""Answers to 03-c: more wrong ones. Names, sizes and shapes as they must not be, and blocks that cannot be trained as asked."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_03_c import ANSWERS, Given

mutant = ANSWERS.mutant


class Whole(Given):
    """Right: what most answers here spoil."""

    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant("prompt_param|Parameter")
class ComponentsNoParameter(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        del self.prompt_param
        self.prompt_param = torch.rand(1, components, width, side, side)

    forward = Whole.forward


@mutant("prompt_param|Parameter")
class ComponentsInABuffer(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        del self.prompt_param
        self.register_buffer("prompt_param", torch.rand(1, components, width, side, side))

    forward = Whole.forward


@mutant("prompt_param|gradient|train")
class ComponentsFrozen(Whole):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.prompt_param.requires_grad_(False)


@mutant("prompt_param|shape|1")
class ComponentsWithoutTheLeadingOne(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.prompt_param = nn.Parameter(torch.rand(components, width, side, side))

    def mix(self, weights):
        return torch.einsum("bn,npij->bpij", weights, self.prompt_param)

    forward = Whole.forward


@mutant("prompt_param|shape")
class ComponentsWithChannelsLast(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.prompt_param = nn.Parameter(torch.rand(1, components, side, side, width))

    def mix(self, weights):
        return torch.einsum("bn,nijp->bpij", weights, self.prompt_param[0])

    forward = Whole.forward


@mutant("prompt_param|shape")
class WidthBeforeComponents(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.prompt_param = nn.Parameter(torch.rand(1, width, components, side, side))

    def mix(self, weights):
        return torch.einsum("bn,pnij->bpij", weights, self.prompt_param[0])

    forward = Whole.forward


@mutant("prompt_param|components|shape|__init__|5")
class FiveComponentsOf64(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, 5, 64)

    forward = Whole.forward


@mutant("bias")
class LinearWithoutBias(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.linear_layer = nn.Linear(features, components, bias=False)

    forward = Whole.forward


@mutant("bias")
class ConvolutionWithBias(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)

    forward = Whole.forward


@mutant("conv3x3|shape|3")
class ConvolutionOfOnePixel(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.conv3x3 = nn.Conv2d(width, width, 1, bias=False)

    forward = Whole.forward


@mutant("conv3x3|shape|3|channel")
class ConvolutionOfEveryChannelAlone(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)

    forward = Whole.forward


@mutant("prompt_param|linear_layer|conv3x3|name")
class OtherNames(nn.Module):
    def __init__(self, features, width, components=5, side=64):
        super().__init__()
        self.prompts = nn.Parameter(torch.rand(1, components, width, side, side))
        self.linear = nn.Linear(features, components)
        self.softmax = nn.Softmax(dim=1)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x):
        weights = self.softmax(self.linear(x.mean(dim=(2, 3))))
        prompt = torch.einsum("bn,npij->bpij", weights, self.prompts[0])
        return self.conv(F.interpolate(prompt, x.shape[2:], mode="bilinear"))


@mutant()
class OneLayerMore(Given):
    """A parameter that the library's block does not have."""

    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant("gradient|weight")
class WeightsDetached(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x).detach()), x))


@mutant("gradient")
class FeaturesDetached(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x.detach())), x))


@mutant("gradient|prompt_param")
class ComponentsTakenAsData(Given):
    def mix(self, weights):
        return torch.einsum("bn,npij->bpij", weights, self.prompt_param.data[0])

    forward = Whole.forward


@mutant("gradient")
class UnderNoGrad(Given):
    @torch.no_grad()
    def forward(self, x):
        return Whole.forward(self, x)


@mutant()
class FrozenWhereItIsNotTrained(Whole):
    """Another result in eval mode."""

    def forward(self, x):
        prompt = super().forward(x)
        return prompt if self.training else torch.zeros_like(prompt)


@mutant()
class NoSoftmaxInEvalMode(Given):
    def forward(self, x):
        scores = self.linear_layer(x.mean(dim=(2, 3)))
        weights = self.softmax(scores) if self.training else F.one_hot(scores.argmax(1), scores.shape[1]).to(x)
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant()
class PromptRememberedFromTheFirstCall(Whole):
    kept = None

    def forward(self, x):
        if self.kept is None or self.kept.shape != (len(x), self.conv3x3.out_channels, *x.shape[2:]):
            self.kept = super().forward(x)
        return self.kept


@mutant("every time|random|forward|conv3x3")
class FreshConvolutionInForward(Given):
    def forward(self, x):
        prompt = self.resize(self.mix(self.weights(x)), x)
        return nn.Conv2d(prompt.shape[1], prompt.shape[1], 3, padding=1, bias=False)(prompt)


@mutant("every time|random|forward|prompt_param")
class FreshComponentsInForward(Given):
    def forward(self, x):
        prompt = torch.einsum("bn,npij->bpij", self.weights(x), torch.rand_like(self.prompt_param[0]))
        return self.conv3x3(self.resize(prompt, x))


@mutant("random|every time|dropout")
class WithDropout(Given):
    def forward(self, x):
        weights = F.dropout(self.weights(x), 0.1, self.training)
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant()
class ComponentsNormalisedInPlace(Whole):
    def forward(self, x):
        self.prompt_param.data.sub_(self.prompt_param.data.mean())
        return super().forward(x)


@mutant("in.place")
class FeaturesOverwritten(Whole):
    def forward(self, x):
        prompt = super().forward(x)
        x.data.zero_()
        return prompt


@mutant("reshape|view|contiguous")
class ComponentsFlattenedByView(Given):
    """Stops in PromptIR, which keeps the components channels-last."""

    def mix(self, weights):
        _, N, P, S, _ = self.prompt_param.shape
        return (weights @ self.prompt_param.view(N, -1)).view(len(weights), P, S, S)

    forward = Whole.forward


@mutant("float64|dtype|double")
class DoublePrecision(Whole):
    def forward(self, x):
        return super().forward(x).double()


@mutant()
class HalfPrecision(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)).bfloat16().float(), x))


@mutant("tuple|tensor")
class PromptAndWeights(Given):
    def forward(self, x):
        weights = self.weights(x)
        return self.conv3x3(self.resize(self.mix(weights), x)), weights


@mutant()
class FeaturesHandedBack(Given):
    def forward(self, x):
        return x


@mutant("Module")
def a_function(features, width, components=5, side=64):
    return lambda x: x.new_zeros(len(x), width, *x.shape[2:])
