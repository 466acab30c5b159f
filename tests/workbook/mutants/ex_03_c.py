"""Answers to 03-c, the block that makes a prompt: wrong ones. More in `ex_03_c_training.py`, the right ones in `ex_03_c_right.py`."""

import torch
import torch.nn.functional as F
from torch import nn

from . import Answers

ANSWERS = Answers("03-c")
mutant = ANSWERS.mutant


class Given(nn.Module):
    """The `__init__` of the exercise."""

    def __init__(self, features, width, components=5, side=64):
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, components, width, side, side))
        self.linear_layer = nn.Linear(features, components)
        self.softmax = nn.Softmax(dim=1)
        self.conv3x3 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)

    def weights(self, x):
        return self.softmax(self.linear_layer(x.mean(dim=(2, 3))))

    def mix(self, weights):
        return torch.einsum("bn,npij->bpij", weights, self.prompt_param[0])

    def resize(self, prompt, x):
        return F.interpolate(prompt, x.shape[2:], mode="bilinear", align_corners=False)


@mutant("softmax|image|batch|dim")
class SoftmaxOverTheImages(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.softmax = nn.Softmax(dim=0)

    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant("softmax")
class NoSoftmax(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.linear_layer(x.mean(dim=(2, 3)))), x))


@mutant("softmax")
class SoftmaxTwice(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.softmax(self.weights(x))), x))


@mutant("softmax")
class SoftmaxOfNoSubmodule(Given):
    """`watch_prompts` finds nothing to watch."""

    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        del self.softmax

    def forward(self, x):
        weights = self.linear_layer(x.mean(dim=(2, 3))).softmax(dim=1)
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant("softmax|watch")
class SubmodulePresentButNotCalled(Given):
    """`watch_prompts` sees no weights."""

    def forward(self, x):
        weights = F.softmax(self.linear_layer(x.mean(dim=(2, 3))), dim=1)
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant("softmax|watch|replace")
class SubmoduleCalledForShow(Given):
    """`watch_prompts` sees the weights, but those that it puts in their place have no effect."""

    def forward(self, x):
        scores = self.linear_layer(x.mean(dim=(2, 3)))
        self.softmax(scores)
        return self.conv3x3(self.resize(self.mix(scores.softmax(dim=1)), x))


@mutant("softmax|watch|replace")
class ForwardOfTheSoftmaxCalledDirectly(Given):
    """Past the hooks."""

    def forward(self, x):
        weights = self.softmax.forward(self.linear_layer(x.mean(dim=(2, 3))))
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant("softmax|watch|dim|shape|\\(B, N\\)")
class WeightsWithFiveAxesThroughTheSoftmax(Given):
    """The watcher gets (B, N, 1, 1, 1)."""

    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.mean(dim=(2, 3)))[:, :, None, None, None])
        return self.conv3x3(self.resize((weights * self.prompt_param).sum(dim=1), x))


@mutant("pixel|mean")
class SumOfThePixels(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.sum(dim=(2, 3))))
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant("mean|pixel")
class LargestPixel(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.amax(dim=(2, 3))))
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant()
class MeanOfSquareFeatures(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.sum(dim=(2, 3)) / x.shape[2] ** 2))
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant("image|batch")
class MeanOfTheBatch(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.mean(dim=(0, 2, 3)))[None]).expand(len(x), -1)
        return self.conv3x3(self.resize(self.mix(weights), x))


@mutant()
class PromptOfTheFirstImage(Given):
    def forward(self, x):
        prompt = self.conv3x3(self.resize(self.mix(self.weights(x)), x))
        return prompt[:1].expand(len(x), -1, -1, -1)


@mutant()
class SqueezedTooFar(Given):
    """One image alone loses its batch."""

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(x, 1).squeeze()
        if pooled.ndim == 1:
            weights = self.linear_layer(pooled).softmax(dim=0)
            prompt = (weights[:, None, None, None] * self.prompt_param[0]).sum(dim=0)
            return self.conv3x3(prompt)
        return self.conv3x3(self.resize(self.mix(self.softmax(self.linear_layer(pooled))), x))


@mutant("weight|sum|mean")
class EqualWeights(Given):
    def forward(self, x):
        prompt = self.prompt_param.mean(dim=1).expand(len(x), -1, -1, -1)
        return self.conv3x3(self.resize(prompt, x))


@mutant("sum|mean")
class MeanOfTheComponents(Given):
    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)) / self.prompt_param.shape[1], x))


@mutant()
class LargestWeightOnly(Given):
    def forward(self, x):
        weights = self.weights(x)
        hard = F.one_hot(weights.argmax(dim=1), weights.shape[1]) + weights - weights.detach()
        return self.conv3x3(self.resize(self.mix(hard), x))


@mutant("size|shape|resiz")
class NotResized(Given):
    def forward(self, x):
        return self.conv3x3(self.mix(self.weights(x)))


@mutant("align_corners|corner|resiz|bilinear")
class CornersAligned(Given):
    def forward(self, x):
        prompt = F.interpolate(self.mix(self.weights(x)), x.shape[2:], mode="bilinear", align_corners=True)
        return self.conv3x3(prompt)


@mutant("bilinear|nearest|resiz")
class Nearest(Given):
    def forward(self, x):
        return self.conv3x3(F.interpolate(self.mix(self.weights(x)), x.shape[2:]))


@mutant()
class SizeSwapped(Given):
    def forward(self, x):
        prompt = F.interpolate(self.mix(self.weights(x)), (x.shape[3], x.shape[2]), mode="bilinear", align_corners=False)
        return self.conv3x3(prompt)


@mutant()
class SquareOnly(Given):
    def forward(self, x):
        prompt = F.interpolate(self.mix(self.weights(x)), (x.shape[-1], x.shape[-1]), mode="bilinear", align_corners=False)
        return self.conv3x3(prompt)


@mutant("order|after|before|conv3x3|conv")
class ConvolutionBeforeTheResizing(Given):
    def forward(self, x):
        return self.resize(self.conv3x3(self.mix(self.weights(x))), x)


@mutant("conv3x3|conv")
class ConvolutionForgotten(Given):
    def forward(self, x):
        return self.resize(self.mix(self.weights(x)), x)


@mutant()
class ConvolutionTwice(Given):
    def forward(self, x):
        return self.conv3x3(self.conv3x3(self.resize(self.mix(self.weights(x)), x)))


@mutant("conv3x3|padding|shape|conv")
class ConvolutionWithoutPadding(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.conv3x3 = nn.Conv2d(width, width, 3, bias=False)

    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant()
class ConvolutionWithReflectedBorder(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False)

    def forward(self, x):
        return self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant("relu|activation|after")
class ReluAfterwards(Given):
    def forward(self, x):
        return F.relu(self.conv3x3(self.resize(self.mix(self.weights(x)), x)))


@mutant()
class WithResidual(Given):
    def forward(self, x):
        prompt = self.resize(self.mix(self.weights(x)), x)
        return prompt + self.conv3x3(prompt)


@mutant()
class FeaturesAdded(Given):
    """Runs where features and prompt are of one width."""

    def forward(self, x):
        return x + self.conv3x3(self.resize(self.mix(self.weights(x)), x))


@mutant()
class FeaturesAddedWhereTheyFit(Given):
    def forward(self, x):
        prompt = self.conv3x3(self.resize(self.mix(self.weights(x)), x))
        return prompt + x if prompt.shape == x.shape else prompt * x.mean()


@mutant()
class ComponentsKeptBetweenZeroAndOne(Given):
    """They begin there, and leave in training."""

    def forward(self, x):
        components = self.prompt_param[0].clamp(0, 1)
        return self.conv3x3(self.resize(torch.einsum("bn,npij->bpij", self.weights(x), components), x))


@mutant()
class ChannelsReadAsTheLast(Given):
    def forward(self, x):
        _, N, P, S, _ = self.prompt_param.shape
        prompt = (self.weights(x) @ self.prompt_param.reshape(N, -1)).reshape(len(x), S, S, P).permute(0, 3, 1, 2)
        return self.conv3x3(self.resize(prompt, x))
