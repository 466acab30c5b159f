"""Answers to 03-c, the block that makes a prompt: right ones, each written differently."""

import torch
import torch.nn.functional as F
from torch import nn

from .ex_03_c import ANSWERS, Given

alternative = ANSWERS.alternative


@alternative
class ByEinsum(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(torch.einsum("bchw->bc", x) / (x.shape[2] * x.shape[3])))
        prompt = torch.einsum("bn,xnpij->bpij", weights, self.prompt_param)
        return self.conv3x3(F.interpolate(prompt, size=tuple(x.shape[-2:]), mode="bilinear"))


@alternative
class AsTheAuthorsWroteIt(nn.Module):
    def __init__(self, lin_dim, prompt_dim=128, prompt_len=5, prompt_size=96):
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, prompt_len, prompt_dim, prompt_size, prompt_size))
        self.linear_layer = nn.Linear(lin_dim, prompt_len)
        self.conv3x3 = nn.Conv2d(prompt_dim, prompt_dim, kernel_size=3, stride=1, padding=1, bias=False)
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        B, C, H, W = x.shape
        emb = x.mean(dim=(-2, -1))
        prompt_weights = self.softmax(self.linear_layer(emb))
        components = self.prompt_param.unsqueeze(0).repeat(B, 1, 1, 1, 1, 1).squeeze(1)
        prompt = prompt_weights.unsqueeze(-1).unsqueeze(-1).unsqueeze(-1) * components
        prompt = torch.sum(prompt, dim=1)
        prompt = F.interpolate(prompt, (H, W), mode="bilinear")
        prompt = self.conv3x3(prompt)
        return prompt


@alternative
class OneImageAfterTheOther(Given):
    def forward(self, x):
        weights = self.softmax(self.linear_layer(x.flatten(2).mean(dim=2)))
        prompts = []
        for row in weights:
            prompt = sum(weight * component for weight, component in zip(row, self.prompt_param[0], strict=True))
            prompts.append(F.interpolate(prompt[None], x.shape[2:], mode="bilinear", align_corners=False))
        return self.conv3x3(torch.cat(prompts))


@alternative
class ResizedFirst(Given):
    """Layers in another order of definition, the components resized before they are mixed, and only if they must be."""

    def __init__(self, features, width, components=5, side=64):
        nn.Module.__init__(self)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding="same", bias=False)
        self.softmax = nn.Softmax(1)
        self.linear_layer = nn.Linear(features, components, bias=True)
        self.prompt_param = nn.Parameter(torch.randn(1, components, width, side, side))

    def forward(self, x):
        weights = self.softmax(self.linear_layer(self.pool(x).flatten(1)))
        components = self.prompt_param[0]
        if components.shape[2:] != x.shape[2:]:
            components = F.interpolate(components, x.shape[2:], mode="bilinear", align_corners=False)
        return self.conv3x3(torch.tensordot(weights, components, dims=([1], [0])))


@alternative
class InDoublePrecisionInside(Given):
    def forward(self, x):
        pooled = x.double().mean(dim=(2, 3))
        scores = pooled @ self.linear_layer.weight.double().T + self.linear_layer.bias.double()
        weights = self.softmax(scores.to(x.dtype)).double()
        prompt = (weights[:, None] @ self.prompt_param.double().flatten(2)[0]).reshape(len(x), *self.prompt_param.shape[2:])
        prompt = F.interpolate(prompt, x.shape[2:], mode="bilinear", align_corners=False)
        return F.conv2d(prompt, self.conv3x3.weight.double(), padding=1).to(x.dtype)


class _Watched(nn.Module):
    def forward(self, scores):
        return scores.softmax(dim=1)


@alternative
class SoftmaxModuleOfItsOwn(Given):
    def __init__(self, features, width, components=5, side=64):
        super().__init__(features, width, components, side)
        self.softmax = _Watched()

    def forward(self, x):
        weights = self.softmax(F.linear(x.mean((2, 3)), self.linear_layer.weight, self.linear_layer.bias))
        prompt = (weights[:, :, None, None, None] * self.prompt_param).sum(dim=1)
        return self.conv3x3(nn.Upsample(x.shape[2:], mode="bilinear", align_corners=False)(prompt))
