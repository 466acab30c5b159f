"""Answers to 04-d, the embedding of time: right ones, each written differently, and wrong ones that fit some times only."""

import math

import torch
from torch import nn

from .ex_04_d import ANSWERS, Given

mutant, alternative = ANSWERS.mutant, ANSWERS.alternative


@mutant()
class TableOfAThousandTimes(nn.Module):
    """As many rows as the chain has steps, but of the wrong chain: times above 99 wrap around."""

    def __init__(self, dim):
        super().__init__()
        whole = AsInTheLibrary(dim)
        self.register_buffer("table", whole(torch.arange(100)), persistent=False)

    def forward(self, t):
        return self.table[t.long() % 100]


@mutant()
class TimesSorted(Given):
    def forward(self, t):
        return self.join(t.sort().values[:, None] * self.frequencies(t))


@mutant()
class DropoutWhileTraining(Given):
    def forward(self, t):
        return nn.functional.dropout(self.join(t[:, None] * self.frequencies(t)), 0.1, self.training)


@mutant()
class RunningMeanOfTheTimes(Given):
    """Each call changes the next."""

    def __init__(self, dim):
        super().__init__(dim)
        self.seen = 0.0

    def forward(self, t):
        self.seen = 0.5 * self.seen + 0.5 * float(t.float().mean())
        return self.join((t[:, None] - 1e-2 * self.seen) * self.frequencies(t))


@mutant("GPU|device")
class FrequenciesLeftOnTheCpu(Given):
    def __init__(self, dim):
        super().__init__(dim)
        self.w = torch.logspace(0, -4, dim // 2)

    def forward(self, t):
        return self.join(t[:, None] * self.w)


@mutant("GPU|device")
class TimesTakenToTheCpu(Given):
    """The layer after it lies on the GPU."""

    def forward(self, t):
        return self.join(t.cpu()[:, None] * self.frequencies(t.cpu()))


@mutant("GPU|device")
class ResultLeftOnTheCpu(Given):
    def forward(self, t):
        result = torch.zeros(len(t), self.dim)
        for column, values in enumerate(self.join(t[:, None] * self.frequencies(t)).T):
            result[:, column] = values
        return result


@mutant("whole")
class TimesMadeWhole(Given):
    def forward(self, t):
        return self.join(t.long()[:, None] * self.frequencies(t))


@alternative
class AsInTheLibrary(Given):
    def forward(self, t):
        return self.join(t[:, None] * self.frequencies(t))


@alternative
class FrequenciesInABuffer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        half = dim // 2
        frequencies = torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)])
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t):
        angles = torch.einsum("b,f->bf", t.to(self.frequencies.dtype), self.frequencies)
        return torch.cat((torch.sin(angles), torch.cos(angles)), 1)


@alternative
class FrequenciesInAPersistentBuffer(nn.Module):
    """One more entry in the state dict, nothing to learn."""

    def __init__(self, dim):
        super().__init__()
        self.register_buffer("w", torch.pow(10000.0, -torch.linspace(0, 1, dim // 2, dtype=torch.float64)).float())

    def forward(self, t):
        angles = t.unsqueeze(1) * self.w.unsqueeze(0)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


@alternative
class CosineAsAShiftedSineInDoublePrecision(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.half = dim // 2

    def forward(self, t):
        angles = t.double().outer(torch.logspace(0, -4, self.half, dtype=torch.float64, device=t.device))
        return torch.hstack([angles, angles + math.pi / 2]).sin().float()


@alternative
class OneColumnAfterTheOther(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, t):
        result = torch.zeros(len(t), self.dim, device=t.device)
        half = self.dim // 2
        for i in range(half):
            result[:, i] = torch.sin(t / 10000 ** (i / (half - 1)))
            result[:, half + i] = torch.cos(t / 10000 ** (i / (half - 1)))
        return result


@alternative
class FrequenciesByPowersInSinglePrecision(nn.Module):
    """The first line most write; in float32 the angle of a late time is off by a few units in the last place."""

    def __init__(self, width):
        super().__init__()
        self.frequencies = 1 / 10000 ** (torch.arange(width // 2) / (width // 2 - 1))

    def forward(self, t):
        angles = t.float().view(-1, 1) * self.frequencies.to(t.device)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
