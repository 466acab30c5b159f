"""Remedies that give the model parts of its own: task-conditioned norms, low-rank adapters for each task, a split of the frequencies.

All three begin as the model they are built into: the first step of a run with the remedy sees the same outputs as one without.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.lab.labels import TaskAware
from course_lib.lab.remedies import Joint
from course_lib.models.layers import LayerNorm

NORMS = (LayerNorm, nn.LayerNorm, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)
DECODER = ("decoder_level3", "decoder_level2", "decoder_level1", "refinement")


class TaskNorm(Joint):
    """Task-conditioned normalisation: an affine map of each task's own after every norm, y = (1 + gamma_t) norm(x) + beta_t.

    FiLM (Perez et al., AAAI 2018, eq. 2) with the task's label instead of a network as its condition, as in conditional instance
    normalisation (Dumoulin et al., ICLR 2017, eq. 5). gamma_t = beta_t = 0 at the start. The model must be told the task in use too.
    """

    name = "task_norm"

    def prepare(self, model: nn.Module, tasks: Sequence[str]) -> nn.Module:
        found = _seen(model)
        return _replaced(model, self.name, {n: NormOfTask(m, len(tasks), c) for n, (m, c) in found.items() if isinstance(m, NORMS)})


class NormOfTask(TaskAware):
    """A norm, then scale and shift of the task, (B, C, H, W) -> same; gamma and beta (tasks, C)."""

    def __init__(self, norm: nn.Module, tasks: int, channels: int):
        super().__init__()
        self.norm = norm
        self.gamma = nn.Parameter(torch.zeros(tasks, channels))
        self.beta = nn.Parameter(torch.zeros(tasks, channels))

    def forward(self, x: Tensor) -> Tensor:
        task = self.task()
        return torch.addcmul(self.beta[task][:, :, None, None], self.norm(x), 1 + self.gamma[task][:, :, None, None])


class Adapters(Joint):
    """Low-rank adapters of each task beside the shared 1x1 convolutions: y = W x + (alpha / r) B_t A_t x, A_t (r, C), B_t (C', r).

    LoRA (Hu et al., ICLR 2022, sec. 4.1), here one pair a task and trained together with W from the start: the shared weights learn what
    the tasks have in common. B_t = 0 at the start. Convolutions that the model never calls as such (MDTA's last, which is folded
    into the attention map) get none. The model must be told the task in use too. Raises ValueError for a rank below 1.
    """

    name = "adapters"

    def __init__(self, rank: int = 2, alpha: float = 2.0):
        if rank < 1:
            raise ValueError(f"adapters: the rank is a whole number from 1, got {rank}")
        self.rank, self.alpha = rank, alpha

    def prepare(self, model: nn.Module, tasks: Sequence[str]) -> nn.Module:
        plain = {n: m for n, (m, _) in _seen(model).items() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.groups == 1}
        return _replaced(model, self.name, {n: AdaptedConv(m, len(tasks), self.rank, self.alpha) for n, m in plain.items()})


class AdaptedConv(TaskAware):
    """A 1x1 convolution plus the low-rank map of the task, (B, C, H, W) -> (B, C', H, W); `down` (tasks, r, C), `up` (tasks, C', r)."""

    def __init__(self, conv: nn.Conv2d, tasks: int, rank: int, alpha: float):
        super().__init__()
        self.conv, self.scale = conv, alpha / rank
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels  # GDFN asks for them
        self.down = nn.Parameter(torch.randn(tasks, rank, conv.in_channels) * conv.in_channels**-0.5)
        self.up = nn.Parameter(torch.zeros(tasks, conv.out_channels, rank))

    def forward(self, x: Tensor) -> Tensor:
        task = self.task()
        B, C, H, W = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(B, H * W, C)
        low = pixels @ self.down[task].transpose(1, 2).to(x.dtype)  # (B, L, r)
        change = low @ self.up[task].transpose(1, 2).to(x.dtype)  # (B, L, C')
        return self.conv(x) + self.scale * change.view(B, H, W, -1).permute(0, 3, 1, 2)


class FrequencySplit(Joint):
    """Two branches after each part of the decoder, low-pass and residual, weighted by the picture itself: y = a(x) P x + b(x) (x - P x).

    P is a mean over `window` x `window` features; (a, b) = 2 sigmoid(V mean(x)) a channel, with V = 0, so a = b = 1, at the start. After
    the frequency selection of SFNet (Cui et al., ICLR 2023) and AdaIR (Cui et al., ICLR 2025), in its smallest form. No label is needed.
    Raises ValueError for an even window.
    """

    name = "frequency_split"

    def __init__(self, window: int = 5, after: Sequence[str] = DECODER):
        if window < 3 or window % 2 == 0:
            raise ValueError(f"frequency_split: the window is odd, from 3, got {window}")
        self.window, self.after = window, list(after)

    def prepare(self, model: nn.Module, tasks: Sequence[str]) -> nn.Module:
        found = _seen(model)
        return _replaced(
            model, self.name, {n: nn.Sequential(found[n][0], BandGate(found[n][1], self.window)) for n in self.after if n in found}
        )


class BandGate(nn.Module):
    """Weighs the low and the high frequencies of each channel by its mean over the picture, (B, C, H, W) -> same."""

    def __init__(self, channels: int, window: int):
        super().__init__()
        self.window = window
        self.weigh = nn.Linear(channels, 2 * channels)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, x: Tensor) -> Tensor:
        low = F.avg_pool2d(x, self.window, stride=1, padding=self.window // 2, count_include_pad=False)
        a, b = (2 * self.weigh(x.mean((2, 3))).sigmoid())[:, :, None, None].chunk(2, dim=1)
        return a * low + b * (x - low)


def _seen(model: nn.Module) -> dict[str, tuple[nn.Module, int]]:
    """Name -> (module, channels of its output) of every module that a forward pass calls: the others would be changed in vain."""
    found: dict[str, tuple[nn.Module, int]] = {}
    names = {module: name for name, module in model.named_modules() if name}

    def look(module: nn.Module, _inputs, output) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found[names[module]] = (module, output.shape[1])

    handles = [module.register_forward_hook(look) for module in names]
    training, like = model.training, next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(torch.full((1, 3, 32, 32), 0.5, device=like.device, dtype=like.dtype))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def _replaced(model: nn.Module, remedy: str, new: dict[str, nn.Module]) -> nn.Module:
    """The model with modules of these names replaced, in place. Raises ValueError when there is nothing to replace."""
    if not new:
        raise ValueError(f"{remedy}: nothing in {type(model).__name__} to build it into")
    like = next(model.parameters())
    for name, module in new.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.to(like.device))
    return model
