"""Training data of all-in-one restoration: several tasks in one stream, each sample with the label of its task.

Sample n is a pure function of (seed, n), as in `pairs.py`, whose sampler and loader serve here unchanged. Which task and which image
sample n shows is one of three balances:

    balanced  task n mod T, so that any batch holds each of the T tasks equally often and what does not divide moves on (the batch as a
              whole: of several processes each takes every so many samples of it, which need not hold all the tasks)
    repeat    a shuffled list in which each image stands `repeat` times, dealt out once an epoch, as PromptIR and its kin train
    weights   a task drawn with probability weight / sum of weights, then an image evenly
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from course_lib.datasets.pairs import Degrade
from course_lib.datasets.settings import SETTINGS, setting_of

__all__ = ["BALANCES", "SETTINGS", "Balance", "KindDegrade", "MixtureDataset", "Source", "Task", "degrade_of", "setting_of", "tasks_of"]

Balance = Literal["balanced", "repeat", "weights"]
BALANCES = ("balanced", "repeat", "weights")
_ORDER = 0x0DE4  # sets the stream of an epoch's order apart from the streams of its samples


class Loadable(Protocol):
    """Images that lie in files: `load()` reads them at every use, (3, H, W) each; degraded is None where there is only a clean one."""

    def load(self) -> tuple[Tensor | None, Tensor]: ...


Source = Tensor | tuple[Tensor, Tensor] | Loadable


@dataclass(frozen=True)
class Task:
    """One task of a mixture: clean images and a `degrade(clean (3, h, w), rng)` for them, or real pairs.

    `images`: (3, H, W) in [0, 1], or tuples (degraded, clean), or objects with `load()`; a real degraded twin goes before `degrade`.
    `label` defaults to the task's place in the mixture; tasks may share one. `repeat` and `weight` serve the balances of those names.
    """

    name: str
    images: Sequence[Source] = field(repr=False)
    degrade: Degrade | None = None
    label: int | None = None
    repeat: int = 1
    weight: float = 1.0


@dataclass(frozen=True)
class KindDegrade:
    """A `degrade` of one of the course's kinds: its parameters are drawn for each image, those in `values` as stated there.

    `values`: field -> a number, or (low, high) to draw from instead of the class's own range. It travels to spawned workers.
    """

    kind: str
    values: tuple[tuple[str, float | tuple[float, float]], ...] = ()
    clip: bool = True

    def draw(self, rng: np.random.Generator) -> Any:
        """The parameter object of one image. Raises ValueError for an unknown kind, field or a value out of range."""
        fixed = {name: _number(self, name, value, rng) for name, value in self.values}
        return _kind(self.kind).sample(rng, **fixed)

    def __call__(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        parameters = self.draw(rng)
        return parameters.apply(clean[None], int(rng.integers(2**63)), clip=self.clip)[0]


def degrade_of(kind: str, *, clip: bool = True, **values: float | tuple[float, float]) -> KindDegrade:
    """`degrade_of("motion_blur", length=(5, 15))`: angle drawn from its own range, length between 5 and 15. Raises ValueError."""
    made = KindDegrade(kind, tuple((name, tuple(v) if isinstance(v, (tuple, list)) else v) for name, v in values.items()), clip)
    made.draw(np.random.default_rng(0))  # a wrong name or range shows here, not in a worker after the first epoch
    for end in (0, 1):
        _kind(kind).sample(0, **{name: v[end] if isinstance(v, tuple) else v for name, v in made.values})
    return made


class MixtureDataset(Dataset):
    """Crops of several tasks' images; `dataset[(n, patch)] -> (degraded, clean, label)`, (3, patch, patch) twice and an int.

    Both images of a pair are cropped, flipped and turned alike. With `views` 2 each sample has a fourth part, the key of contrastive
    learning (AirNet): another crop of the same photograph under the same degradation at the same strength, with draws of its own.
    Goes with `StepSampler` and `pair_loader`. Raises ValueError for an unknown balance, no tasks, a task without images, names that
    double, impossible weights, a pair of different sizes, a small image.
    """

    def __init__(self, tasks: Sequence[Task], seed: int, balance: Balance = "balanced", views: int = 1, context: int = 0):
        _check(tasks, balance)
        self.views, self.context = views, context
        held: dict[int, tuple[Tensor, Tensor]] = {}
        self.tasks = [replace(task, images=[_stored(task, i, held) for i in range(len(task.images))]) for task in tasks]
        self.seed, self.balance = seed, balance
        self.labels = [number if task.label is None else int(task.label) for number, task in enumerate(self.tasks)]
        self.counts = [len(task.images) * task.repeat for task in self.tasks]
        total = sum(task.weight for task in self.tasks)
        self.shares = np.cumsum([task.weight / total for task in self.tasks])
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def names(self) -> list[str]:
        """The tasks' names, in the order of the mixture."""
        return [task.name for task in self.tasks]

    @property
    def epoch(self) -> int:
        """Samples in an epoch: every image of every task `repeat` times. Only the balance `repeat` keeps to epochs."""
        return sum(self.counts)

    def expected_shares(self) -> dict[str, float]:
        """Task -> the share of the samples that it has in the long run; they add up to one."""
        parts = {"balanced": [1] * len(self.tasks), "repeat": self.counts, "weights": [task.weight for task in self.tasks]}[self.balance]
        return {task.name: part / sum(parts) for task, part in zip(self.tasks, parts, strict=True)}

    def choose(self, number: int) -> tuple[int, int]:
        """(task, image) of sample `number`, by its place in the mixture and in the task's images."""
        return self._choose(number, np.random.default_rng((self.seed, number)))

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        number, patch = key
        rng = np.random.default_rng((self.seed, number))
        place, index = self._choose(number, rng)
        task = self.tasks[place]
        pair = _opened(task, index)
        if self.context:
            scene = _crop_alike(*pair, max(patch, min(self.context, *pair[1].shape[1:])), rng, _called(task, index))
            scene = (task.degrade(scene[1], rng) if scene[0] is None else scene[0], scene[1])
            views = [_window(*scene, patch, rng) for _ in range(self.views)]
            return *views[0], self.labels[place], *(degraded for degraded, _ in views[1:])
        degraded, clean = _crop_alike(*pair, patch, rng, _called(task, index))
        if self.views == 1:
            return task.degrade(clean, rng) if degraded is None else degraded, clean, self.labels[place]
        twin, other = _crop_alike(*pair, patch, rng, _called(task, index))
        if degraded is None:
            degraded, twin = _alike(task.degrade, clean, other, rng)
        return degraded, clean, self.labels[place], twin

    def _choose(self, number: int, rng: np.random.Generator) -> tuple[int, int]:
        if self.balance == "repeat":
            return self._dealt(number)
        if self.balance == "balanced":
            place = number % len(self.tasks)
        else:
            place = min(int(np.searchsorted(self.shares, rng.random(), side="right")), len(self.tasks) - 1)
        return place, int(rng.integers(len(self.tasks[place].images)))

    def _dealt(self, number: int) -> tuple[int, int]:
        epoch, position = divmod(number, self.epoch)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch, _ORDER)).permutation(self.epoch)
            self._order = (epoch, order.astype(np.int32 if self.epoch < 2**31 else np.int64))
        entry = int(self._order[1][position])
        for place, (task, count) in enumerate(zip(self.tasks, self.counts, strict=True)):
            if entry < count:
                return place, entry // task.repeat
            entry -= count
        raise AssertionError("an epoch is the sum of its tasks")


def tasks_of(setting: str, sources: Mapping[str, Sequence[Source]] | Sequence[Source], *, clip: bool = True) -> list[Task]:
    """The tasks of one of `SETTINGS`, with its labels, published repeats and weights, on your images.

    `sources`: clean images that serve every task (all made by the course's degradations), or task -> clean images or real pairs.
    The weights are the published samples an epoch, so that the balance `weights` has the published shares on any number of images.
    Raises ValueError for an unknown setting or task, or a missing source.
    """
    wanted = setting_of(setting).tasks
    if not isinstance(sources, Mapping):
        sources = {task.name: sources for task in wanted}
    names = [task.name for task in wanted]
    for name in [*names, *sources]:
        if (name in names) != (name in sources):
            said = "has no source" if name in names else "is not one of its tasks"
            raise ValueError(f"setting {setting!r}: {name!r} {said}; its tasks are {', '.join(names)}")
    return [
        Task(task.name, sources[task.name], degrade_of(task.kind, clip=clip, **task.parameters), place, task.repeat, float(task.samples))
        for place, task in enumerate(wanted)
    ]


def _kind(name: str) -> Any:
    from course_lib.degradations.composite import DEGRADATIONS

    if name not in DEGRADATIONS:
        raise ValueError(f"unknown kind of degradation {name!r}; choose one of {', '.join(DEGRADATIONS)}")
    return DEGRADATIONS[name]


def _number(own: KindDegrade, name: str, value: float | tuple[float, float], rng: np.random.Generator) -> float:
    if not isinstance(value, tuple):
        return value
    low, high = value
    if not low <= high:
        raise ValueError(f"{own.kind}: {name} is to be drawn from {low} to {high}; the lower end comes first")
    whole = any(item.name == name and isinstance(item.default, int) for item in fields(_kind(own.kind)))
    return int(rng.integers(low, high, endpoint=True)) if whole else float(rng.uniform(low, high))


def _check(tasks: Sequence[Task], balance: str) -> None:
    if balance not in BALANCES:
        raise ValueError(f"unknown balance {balance!r}; choose one of {', '.join(BALANCES)}")
    if not tasks:
        raise ValueError("MixtureDataset: no tasks")
    names = [task.name for task in tasks]
    for task in tasks:
        if names.count(task.name) > 1:
            raise ValueError(f"two tasks are called {task.name!r}; give each its own name (they may share a label)")
        if not len(task.images):
            raise ValueError(f"task {task.name!r} holds no images")
        if task.repeat != int(task.repeat) or task.repeat < 1:
            raise ValueError(f"task {task.name!r}: repeat must be a whole number from 1, got {task.repeat!r}")
        if not 0 <= task.weight < float("inf"):
            raise ValueError(f"task {task.name!r}: weight must be a number from 0, got {task.weight!r}")
    if not sum(task.weight for task in tasks):
        raise ValueError("MixtureDataset: every task has weight 0; give one of them more")


def _called(task: Task, index: int) -> str:
    """How a message names an image: by its file where it has one."""
    file = getattr(task.images[index], "name", None)  # a tensor has a `name` too, which is None
    return f"task {task.name!r}, image {index if file is None else file}"


def _stored(task: Task, index: int, held: dict[int, tuple[Tensor, Tensor]]) -> Source:
    """What is kept of an image: 8 bit of tensors, as `PairDataset` keeps them, files as they are. Raises ValueError.

    `held` (id -> the image and its 8 bit) lets one list of images serve every task and be kept once; it holds on to the images, since
    an id is given out again when an object is gone.
    """
    source = task.images[index]
    if not isinstance(source, (Tensor, tuple)):
        return source
    kept = []
    for image in source if isinstance(source, tuple) else (source,):
        if id(image) not in held:
            _check_image(image, _called(task, index))
            held[id(image)] = (image, (image * 255).round().to(torch.uint8))
        kept.append(held[id(image)][1])
    if not isinstance(source, tuple):
        if task.degrade is None:
            raise ValueError(f"{_called(task, index)}: a clean image alone needs a `degrade`; give the task one, or real pairs")
        return kept[0]
    _check_pair(*kept, _called(task, index))
    return tuple(kept)


def _opened(task: Task, index: int) -> tuple[Tensor | None, Tensor]:
    """(degraded or None, clean) of a stored image, 8 bit or, from a file, as it was read. Raises ValueError."""
    source = task.images[index]
    if isinstance(source, Tensor):
        return None, source
    if isinstance(source, tuple):
        return source
    degraded, clean = source.load()
    if degraded is not None:
        _check_pair(degraded, clean, _called(task, index))
    elif task.degrade is None:
        raise ValueError(f"{_called(task, index)}: no degraded twin was read, and the task has no `degrade` to make one")
    return degraded, clean


def _check_image(image: Tensor, called: str) -> None:
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"{called} must be (3, H, W), not {tuple(image.shape)}")
    if not (image.min() >= 0 and image.max() <= 1):  # said so that NaN fails too
        raise ValueError(f"{called} has values outside [0, 1], which 8 bit cannot hold; clip it, or give the clean image and a `degrade`")


def _check_pair(degraded: Tensor, clean: Tensor, called: str) -> None:
    if degraded.shape != clean.shape:
        sizes = " and ".join("x".join(str(side) for side in image.shape[1:]) for image in (degraded, clean))
        raise ValueError(f"{called}: the degraded and the clean image differ in size, {sizes}; they must show the same pixels")


def _alike(degrade: Degrade, first: Tensor, second: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two crops spoilt with the same parameters and draws of their own; a `degrade` that is no `KindDegrade` draws its parameters twice."""
    if not isinstance(degrade, KindDegrade):
        return degrade(first, rng), degrade(second, rng)
    parameters = degrade.draw(rng)
    one, two = (parameters.apply(crop[None], int(rng.integers(2**63)), clip=degrade.clip)[0] for crop in (first, second))
    return one, two


def _window(degraded: Tensor, clean: Tensor, patch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same patch of both at a random place."""
    top, left = (int(rng.integers(0, side - patch + 1)) for side in clean.shape[1:])
    cut = (..., slice(top, top + patch), slice(left, left + patch))
    return degraded[cut].contiguous(), clean[cut].contiguous()


def _crop_alike(degraded: Tensor | None, clean: Tensor, patch: int, rng: np.random.Generator, called: str) -> tuple[Tensor | None, Tensor]:
    """The same crop, quarter turn and flip of both, (3, patch, patch) float in [0, 1]. Raises ValueError for a small image."""
    height, width = clean.shape[1:]
    if min(height, width) < patch:
        raise ValueError(f"{called} is {height}x{width}, smaller than the {patch}x{patch} patch; use a smaller patch")
    top, left = rng.integers(0, height - patch + 1), rng.integers(0, width - patch + 1)
    turns, flip = int(rng.integers(0, 4)), rng.random() < 0.5

    def crop(image: Tensor | None) -> Tensor | None:
        if image is None:
            return None
        part = image[:, top : top + patch, left : left + patch]
        part = torch.rot90(part.float() / 255 if part.dtype == torch.uint8 else part, turns, (1, 2))
        return (part.flip(2) if flip else part).contiguous()

    return crop(degraded), crop(clean)
