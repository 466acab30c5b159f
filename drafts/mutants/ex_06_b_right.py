"""Answers to 06-b, degradation-guided channel perturbation: right ones, each written differently."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from .ex_06_b import ANSWERS, Given, order_of, reordered

alternative = ANSWERS.alternative


@alternative
class Plain(Given):
    def forward(self, x, text):
        guide = self.linear2(self.linear1(text))
        return self.narrow(reordered(self.widen(x), order_of(guide)))


@alternative
class ByAdvancedIndexing(Given):
    def forward(self, x, text):
        y = self.widen(x)
        order = torch.topk(self.linear2(self.linear1(text)), k=y.shape[1]).indices
        return self.narrow(y[torch.arange(len(y))[:, None], order])


@alternative
class RowsOfTheWeightReordered(Given):
    """Widening and shuffling in one: the rows of the layer, picked image by image."""

    def forward(self, x, text):
        orders = self.order(text)
        return torch.cat([self.narrow(F.conv2d(x[b : b + 1], self.widen.weight[o], self.widen.bias[o])) for b, o in enumerate(orders)])


@alternative
class ColumnsOfTheNarrowingReordered(Given):
    """The other side of the same product: narrow's columns go back to where the channels came from."""

    def forward(self, x, text):
        inverse = self.order(text).argsort(dim=1)
        weight = self.narrow.weight[:, :, 0, 0]  # (C, 2C)
        weights = torch.stack([weight[:, row] for row in inverse])  # (B, C, 2C)
        return torch.einsum("bcn,bnhw->bchw", weights, self.widen(x)) + self.narrow.bias[:, None, None]


@alternative
class ByPermutationMatrices(Given):
    """The guide under no_grad, since no gradient passes through an order anyway."""

    def forward(self, x, text):
        with torch.no_grad():
            order = (-self.linear2(self.linear1(text))).argsort(dim=-1)
            P = F.one_hot(order, order.shape[1]).to(x.dtype)
        H, W = x.shape[2:]
        y = torch.bmm(P, self.widen(x).flatten(2))
        return self.narrow(y.unflatten(2, (H, W)))


@alternative
class ChannelsLast(Given):
    """Both convolutions as linear layers on (B, L, C)."""

    def forward(self, x, text):
        rows = rearrange(x, "b c h w -> b (h w) c") @ self.widen.weight.flatten(1).T + self.widen.bias
        order = order_of(F.linear(F.linear(text, self.linear1.weight, self.linear1.bias), self.linear2.weight, self.linear2.bias))
        rows = rows.gather(2, order[:, None].expand(-1, rows.shape[1], -1))
        return rearrange(F.linear(rows, self.narrow.weight.flatten(1), self.narrow.bias), "b (h w) c -> b c h w", h=x.shape[2])


@alternative
class ImageByImage(Given):
    def one(self, image, words):
        guide = self.linear2(self.linear1(words))
        _, order = guide.sort(descending=True)
        wide = self.widen(image[None])[0]
        return self.narrow(wide.index_select(0, order)[None])

    def forward(self, x, text):
        return torch.cat([self.one(image, words) for image, words in zip(x, text, strict=True)])


@alternative
class LayersTheOtherWayRound(nn.Module):
    """Defined from the last to the first, with other names for the arguments; the guide detached on the way."""

    def __init__(self, dim, width):
        super().__init__()
        self.narrow = nn.Conv2d(dim * 2, dim, 1, 1, 0)
        self.widen = nn.Conv2d(dim, dim * 2, (1, 1))
        self.linear2 = nn.Linear(width, dim * 2)
        self.linear1 = nn.Linear(in_features=width, out_features=width, bias=True)

    def forward(self, features, words):
        index = self.linear2(self.linear1(words)).detach().argsort(dim=1, descending=True)[..., None, None]
        y = self.widen(features)
        return self.narrow(y.gather(1, index.expand(-1, -1, y.size(2), y.size(3))))
