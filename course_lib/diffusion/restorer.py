"""A residual process and its network in one model that restores like any other: `model(degraded) -> restored`.

So that tables, tiles, the leaderboard and `course restore` need not know that a walk of several steps goes on inside. The noise of the
start is drawn from a fixed seed for every pixel's place, which makes the model a function: the same picture gives the same result.
"""

import torch
from torch import Tensor, nn

from course_lib.diffusion.chain import starting_noise
from course_lib.diffusion.diffuir import DiffUIR
from course_lib.diffusion.rddm import RDDM
from course_lib.models.diffuir import DiffUIRNet
from course_lib.models.rddm import RDDMNet

# kind -> (process, network, the papers' number of steps)
KINDS = {"rddm": (RDDM, RDDMNet, 5), "diffuir": (DiffUIR, DiffUIRNet, 3)}
NOISE_SEED = 0


class DiffusionRestorer(nn.Module):
    """degraded (B, 3, H, W) in [0, 1] -> restored, same; with `clean` as well, the loss of each picture, (B,), for training.

    `kind`: "rddm" or "diffuir"; `network`, `process`: keywords of theirs; `steps`: calls of the network in a restoration, 0: the paper's.
    `on_walk`: it trains on the states of its own walk (`process.walk_loss`, ours), not on true ones as in the papers.
    `evaluation.restore` pads images to the sides that the network needs. Raises ValueError for an unknown kind.
    """

    def __init__(self, kind: str = "rddm", network: dict | None = None, process: dict | None = None, steps: int = 0, on_walk: bool = False):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"DiffusionRestorer: kind is one of {', '.join(KINDS)}, got {kind!r}")
        make_process, make_network, usual = KINDS[kind]
        self.network = make_network(**(network or {}))
        self.process = make_process(**(process or {}))
        self.steps, self.on_walk = steps or usual, on_walk
        self.config = dict(kind=kind, network=self.network.config, process=dict(process or {}), steps=self.steps)
        self.config |= {"on_walk": True} if on_walk else {}
        # schedules follow from the configuration: a weights file holds the network alone
        self.process._non_persistent_buffers_set.update(name for name, _ in self.process.named_buffers())

    def forward(self, degraded: Tensor, clean: Tensor | None = None, t: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        if clean is None:
            return self.restore(degraded)
        if self.on_walk:
            noise = torch.randn_like(clean) if noise is None else noise
            return self.process.walk_loss(self.network, degraded, clean, self.steps, noise, int(torch.randint(self.steps, ())))
        return self.process.loss(self.network, degraded, clean, t, noise, each=True)

    def restore(self, degraded: Tensor, steps: int = 0, noise: Tensor | None = None, **options) -> Tensor:
        """The restored images in [0, 1], in `steps` steps (0: the model's own) from `noise` (None: drawn from a fixed seed).

        Every picture of a batch begins with the same noise. Options of `process.sample` (eta, generator, progress, states).
        """
        if noise is None:
            noise = starting_noise((1, *degraded.shape[1:]), NOISE_SEED, degraded.device).expand(len(degraded), -1, -1, -1)
        return self.process.sample(self.network, degraded, steps or self.steps, noise, **options)

    @property
    def T(self) -> int:
        """Number of times of the process."""
        return self.process.num_timesteps


def spread_times(batch: int, T: int) -> Tensor:
    """(B,) int64 out of 0 ... T-1, each uniform, one in each of B equal parts of the range, in random order; from torch's own stream."""
    places = (torch.arange(batch, dtype=torch.float64) / batch + torch.rand(1, dtype=torch.float64)) % 1
    return (places[torch.randperm(batch)] * T).long().clamp(max=T - 1)
