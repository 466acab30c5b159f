"""Degraded/clean training pairs. Sample n of a run is a pure function of (seed, n): nothing else decides what is trained on.

That makes the order of the data the same on any number of workers and processes, and the "position of the sampler" one
number, so that a killed run goes on with exactly the batches it would have seen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

# degrade(clean (3, h, w), rng) -> (3, h, w): draws its parameters and its noise from the given generator only.
Degrade = Callable[[Tensor, np.random.Generator], Tensor]


class PairDataset(Dataset):
    """Random crops, flips and quarter turns of clean images with a degraded twin; `dataset[(n, patch)] -> (degraded, clean)`.

    `images`: (3, H, W) tensors in [0, 1]. Each item is (3, patch, patch). A crop is drawn uniformly over all pixels of all images,
    so big images count more. Raises ValueError when an image is smaller than the patch.
    """

    def __init__(self, images: Sequence[Tensor], degrade: Degrade, seed: int):
        if not images:
            raise ValueError("PairDataset: no training images")
        # 8 bit holds what the files held, at a quarter of the memory
        self.images = [(image * 255).round().to(torch.uint8) for image in images]
        self.degrade, self.seed = degrade, seed
        areas = np.array([image.shape[1] * image.shape[2] for image in self.images], dtype=np.float64)
        self.cumulative = np.cumsum(areas / areas.sum())

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        number, patch = key
        rng = np.random.default_rng((self.seed, number))
        image = self.images[min(int(np.searchsorted(self.cumulative, rng.random(), side="right")), len(self.images) - 1)]
        height, width = image.shape[1:]
        if min(height, width) < patch:
            raise ValueError(f"a training image is {height}x{width}, smaller than the {patch}x{patch} patch; use a smaller patch")
        top, left = rng.integers(0, height - patch + 1), rng.integers(0, width - patch + 1)
        clean = image[:, top : top + patch, left : left + patch].float() / 255
        turns, flip = rng.integers(0, 4), rng.random() < 0.5
        clean = torch.rot90(clean, int(turns), (1, 2))
        clean = (clean.flip(2) if flip else clean).contiguous()
        return self.degrade(clean, rng), clean


@dataclass(frozen=True)
class NoiseDegrade:
    """Adds Gaussian noise (not clipped) of a fixed sigma/255, or of a sigma drawn uniformly between `low` and `high` per image."""

    low: float
    high: float

    def __call__(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        level = self.low if self.low == self.high else rng.uniform(self.low, self.high)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        return clean + noise * (level / 255)


def noise_of(sigma: float | Sequence[float]) -> Degrade:
    """A `degrade` that adds noise of `sigma` (0-255), or of a sigma drawn between the two of a pair; it travels to spawned workers."""
    low, high = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    return NoiseDegrade(float(low), float(high))


def first_sample(stages: Callable[[int], tuple[int, int]], step: int) -> int:
    """Number of the first sample of a step: the batches of all steps before it."""
    return sum(stages(earlier)[1] for earlier in range(step))


class StepSampler:
    """Yields, for steps `start` to `stop`, the keys of that step's batch; its position is the step, which checkpoints save.

    `stages(step) -> (patch, batch)` is the progressive schedule. Process `rank` of `world` takes every world-th sample of the
    batch, so that several processes together see what one alone would. Raises ValueError when a batch does not divide.
    """

    def __init__(self, stages: Callable[[int], tuple[int, int]], start: int, stop: int, rank: int = 0, world: int = 1):
        self.stages, self.start, self.stop, self.rank, self.world = stages, start, stop, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        sample = first_sample(self.stages, self.start)
        for step in range(self.start, self.stop):
            patch, batch = self.stages(step)
            if batch % self.world:
                raise ValueError(f"a batch of {batch} does not divide between {self.world} processes; change `batch` in the recipe")
            yield [(sample + i, patch) for i in range(self.rank, batch, self.world)]
            sample += batch

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)  # the workers share the cores with the training itself


def pair_loader(dataset: PairDataset, sampler: StepSampler, workers: int = 0, pin: bool = False) -> DataLoader:
    """A DataLoader of (degraded, clean) batches (B, 3, p, p) in the sampler's order, whatever the number of workers."""
    # a generator of its own: without one, making the iterator takes a number out of torch's stream, and a run that went on
    # would draw other noise than one that was never stopped
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, pin_memory=pin, worker_init_fn=_one_thread, persistent_workers=False,
        generator=torch.Generator(),
    )  # fmt: skip
