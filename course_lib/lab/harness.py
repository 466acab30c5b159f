"""One experiment of the lab: a model, its tasks, a remedy, a seed, at the budget that all share; trained, measured, one row a task.

Equal budget: the same number of steps, images a step, pixels an image and the same learning rate. A model of one task sees only that
task's images, as many as a joint model sees of all tasks together. All begin with `torch.manual_seed(seed)`, and sample n of a run is
a function of (seed, n), so that the joint experiments of a seed see the same pictures in the same order.
"""

import copy
import csv
import hashlib
import inspect
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.datasets.mixture import MixtureDataset, Task, degrade_of
from course_lib.datasets.photos import load_photos
from course_lib.evaluation import restore
from course_lib.lab import gradients as grads
from course_lib.lab import spectra
from course_lib.lab.labels import told
from course_lib.lab.remedies import Remedy, make_remedy, parameter_counts
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.paths import write_atomic
from course_lib.training import checkpoint as ckpt
from course_lib.training.loop import Result, fit, l1_objective
from course_lib.training.recipe import Recipe

COLUMNS = [
    "experiment", "model", "remedy", "seed", "task", "psnr", "input_psnr", "steps", "seconds", "parameters", "recipe", "commit",
]  # fmt: skip
VALIDATION_SEED = 7000  # apart from the seeds of training and of the probes
PROBE_SEED = 8000


class LabError(RuntimeError):
    """An experiment that cannot be set up or compared; the message says which and what to do."""


@dataclass(frozen=True)
class LabTask:
    """A task by its kind of degradation: `values` as for `degrade_of`, a number or (low, high) to draw from."""

    name: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    clip: bool = True

    def task(self, images: Sequence[Tensor]) -> Task:
        """The same for a `MixtureDataset` on clean (3, H, W) images. Raises ValueError for an unknown kind or value."""
        return Task(self.name, images, degrade_of(self.kind, clip=self.clip, **self.values))


@dataclass(frozen=True)
class Experiment:
    """What is trained: `recipe` (model, config, steps, batch, ...; its seed is set by `run`), tasks, and a remedy by name or of your own.

    A label is the task's place in `tasks`. A remedy's own code is part of what `hash` knows; give it a `version` and raise that when
    code it calls changes. The recipe trains in one stage and without worker processes: the steps of the gradient table are counted here.
    """

    name: str
    recipe: Recipe
    tasks: tuple[LabTask, ...]
    remedy: str | Remedy = "none"
    options: dict[str, Any] = field(default_factory=dict)
    probe_every: int = 0  # steps between rows of the gradient table; 0: none
    crop: int = 192  # side of the validation pictures

    def __post_init__(self):
        if not self.tasks or len({task.name for task in self.tasks}) < len(self.tasks):
            raise LabError(f"experiment {self.name!r}: one task or more, each with a name of its own")
        if len(self.recipe.patches) != 1 or self.recipe.workers:
            raise LabError(f"experiment {self.name!r}: the lab trains in one stage (one patch, one batch) with workers = 0")
        if not self.name or set(self.name) & set('/\\:,"\n'):
            raise LabError(f'experiment {self.name!r}: its name becomes a folder and a table entry; no / \\ : , " in it')

    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of everything but the seed and the experiment's name."""
        recipe = self.recipe.replace(name="", seed=0, validate_every=0, checkpoint_seconds=60.0, log_every=10).hash()
        said = [recipe, [asdict(task) for task in self.tasks], _fingerprint(make_remedy(self.remedy, self.options))]
        said += [self.probe_every, self.crop]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=repr).encode()).hexdigest()[:12]

    def folder(self, out: str | Path, seed: int) -> Path:
        """Where the run of a seed lies below `out`: log, validation, gradient table, weights, its rows."""
        return Path(out) / "runs" / f"{self.name}-seed{seed}-{self.hash()}"


def build(experiment: Experiment, seed: int) -> tuple[nn.Module, Remedy]:
    """The model as it stands before step 0, with the remedy's parts built in, and the remedy. Raises LabError for words of other tasks."""
    remedy = make_remedy(copy.deepcopy(experiment.remedy), experiment.options)  # what a run keeps in it is not the experiment's
    torch.manual_seed(seed)
    model = create_model(experiment.recipe.model, **experiment.recipe.config)
    words, places = getattr(model, "words", None), range(len(experiment.tasks))
    if words is not None and [words.find(task.name) for task in experiment.tasks] != list(places):
        known = ", ".join(words.texts)
        raise LabError(f"experiment {experiment.name!r}: the model is told tasks by number, so its words ({known}) stand in their order")
    return remedy.prepare(model, [task.name for task in experiment.tasks]), remedy


def validation_pairs(tasks: Sequence[LabTask], crop: int = 192) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Task -> (degraded, clean), (1, 3, h, w) each, of the validation photographs' middle; the same at every call."""
    from course_lib.evaluation.protocol import centre_crop

    photos = list(load_photos("validation").values())
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for task in tasks:
        for index, photo in enumerate(photos):
            degrade = degrade_of(task.kind, clip=task.clip, **task.values)
            clean = centre_crop(photo[None], side=crop)
            parameters = degrade.draw(_generator(index))
            pairs.setdefault(task.name, []).append((parameters.apply(clean, [VALIDATION_SEED + index], clip=task.clip), clean))
    return pairs


def measured(model: nn.Module, pairs: dict[str, list[tuple[Tensor, Tensor]]]) -> dict[str, float]:
    """Task -> mean PSNR in dB, the model told the task's place in `pairs`; clipped to [0, 1] as everywhere."""
    device = next(model.parameters()).device
    scores = {}
    for label, (task, images) in enumerate(pairs.items()):
        with told(model, label):
            values = [psnr(restore(model, degraded.to(device)).clamp(0, 1).cpu(), clean) for degraded, clean in images]
        scores[task] = float(torch.cat(values).mean())
    return scores


def run(
    experiment: Experiment,
    seed: int,
    out: str | Path,
    *,
    images: Sequence[Tensor] | None = None,
    commit: str = "",
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> list[dict]:
    """Train one seed of an experiment below `out` and return its rows, by task; called again it goes on, or reads what is done.

    `images`: clean (3, H, W), by default the training photographs. Raises LabError, TrainingError; Ctrl-C goes through after saving.
    """
    folder = experiment.folder(out, seed)
    if (folder / "rows.csv").is_file():
        return read_rows(folder / "rows.csv")
    images = list(load_photos("train").values()) if images is None else images
    model, remedy = build(experiment, seed)
    counts = parameter_counts(model)
    tasks = [task.task(images) for task in experiment.tasks]
    data = _Counted(tasks, seed)
    pairs = validation_pairs(experiment.tasks, experiment.crop)
    recipe = experiment.recipe.replace(name=f"{experiment.name} seed {seed}", seed=seed, validate_every=experiment.probe_every)
    batch = recipe.batches[0]
    probe = _Probe(folder / "gradients.csv", grads.fixed_batches(tasks, PROBE_SEED, batch, recipe.patches[0]) if len(tasks) > 1 else {})
    if experiment.probe_every and not ckpt.checkpoints(folder) and not (folder / "final.safetensors").is_file():
        probe(model, 0)

    def validate(average: nn.Module) -> dict[str, float]:
        if experiment.probe_every:
            probe(average, data.last // batch + 1)
        return measured(average, pairs)

    def objective(now: nn.Module, images_of_step) -> Tensor:
        return remedy.loss(now, images_of_step, l1_objective)

    result = fit(model, recipe, data, None, folder, device=device, validate=validate, objective=objective, progress=progress, say=say)
    rows = _rows(experiment, seed, remedy, counts["total"], measured(result.model, pairs), pairs, result, commit)
    write_rows(folder / "spectra.csv", spectra.task_spectra(result.model, pairs), spectra.COLUMNS)
    write_rows(folder / "rows.csv", rows)  # last: it says that the run is done
    return rows


def load_run(experiment: Experiment, seed: int, out: str | Path) -> nn.Module:
    """The trained model of a finished run, in eval mode. Raises CheckpointError when there is none."""
    model, _ = build(experiment, seed)
    return ckpt.load_weights(experiment.folder(out, seed) / "final.safetensors", model)


def read_rows(path: str | Path) -> list[dict]:
    """Rows of a table of the lab, numbers as numbers. Raises LabError when the file is not such a table."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise LabError(f"{path} is no table of the lab: its columns are {reader.fieldnames}; move it away or name another folder")
        rows = list(reader)
    try:
        kinds = dict(seed=int, steps=int, parameters=int, psnr=float, input_psnr=float, seconds=float)
        return [{key: kinds.get(key, str)(value) for key, value in row.items()} for row in rows]
    except (TypeError, ValueError) as error:
        raise LabError(f"{path}: a row cannot be read ({error}); delete that row, and the queue makes it again") from None


def write_rows(path: str | Path, rows: Sequence[dict], columns: Sequence[str] = COLUMNS) -> None:
    """Write a table as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def _rows(
    experiment: Experiment, seed: int, remedy: Remedy, count: int, scores: dict, pairs: dict, result: Result, commit: str
) -> list[dict]:
    shared = dict(experiment=experiment.name, model=experiment.recipe.model, remedy=remedy.name, seed=seed, steps=result.steps)
    shared |= dict(seconds=round(result.seconds, 1), parameters=count, recipe=experiment.hash(), commit=commit)
    inputs = {task: float(torch.cat([psnr(d.clamp(0, 1), c) for d, c in images]).mean()) for task, images in pairs.items()}
    return [{**shared, "task": task, "psnr": round(scores[task], 4), "input_psnr": round(inputs[task], 4)} for task in scores]


class _Counted(MixtureDataset):
    """A mixture that knows the last sample it gave: with workers = 0 the position of the training, also after a resume."""

    last = -1

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        self.last = max(self.last, key[0])
        return super().__getitem__(key)


class _Probe:
    """Writes the gradient table of a run, one moment after the other; a moment measured again after a resume replaces its rows."""

    def __init__(self, path: Path, batches: dict):
        self.path, self.batches = path, batches

    def __call__(self, model: nn.Module, step: int) -> None:
        if not self.batches:
            return
        rows = []
        if self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) != step]
        device = next(model.parameters()).device
        batches = {task: tuple(part.to(device) for part in batch) for task, batch in self.batches.items()}
        write_rows(self.path, rows + grads.measure(model, batches, step), grads.COLUMNS)


def _generator(number: int):
    import numpy as np

    return np.random.default_rng((VALIDATION_SEED, number))


def _fingerprint(remedy: Remedy) -> list:
    """What a remedy is: name, options and, of your own, its `version` or else its code, so that changed code trains again."""
    said = [remedy.name, json.dumps(getattr(remedy, "__dict__", {}), sort_keys=True, default=lambda value: type(value).__qualname__)]
    own = [kind for kind in type(remedy).__mro__ if not kind.__module__.startswith(("course_lib.", "builtins", "typing"))]
    if not own or hasattr(remedy, "version"):
        return [*said, str(getattr(remedy, "version", ""))]
    try:  # method by method: of a class written in a notebook Python does not know the place
        return [*said, *(_code(name, member) for kind in own for name, member in vars(kind).items() if not name.startswith("__module"))]
    except (OSError, TypeError):
        raise LabError(
            f"the code of remedy {remedy.name!r} cannot be read here; give {type(remedy).__qualname__} a `version = 1`"
        ) from None


def _code(name: str, member: Any) -> str:
    if inspect.isfunction(member) and not member.__code__.co_filename.startswith("<string"):  # what a dataclass wrote has no file
        return inspect.getsource(member)
    return f"{name} = {member!r}" if isinstance(member, (int, float, str, bool, tuple)) else name
