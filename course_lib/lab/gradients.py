"""How far the tasks agree about a layer: the cosine between the gradients that two tasks give the same weights.

With g_a = dL_a / dw the gradient of task a's loss for the weights w of one layer,

    cosine(a, b) = <g_a, g_b> / (|g_a| |g_b|),   norm ratio = |g_a| / |g_b|

A small step against g_b changes L_a by -(step) <g_a, g_b>: below zero, learning b unlearns a ("conflicting gradients", Yu et al.,
NeurIPS 2020, definition 1). Only the first order in the step counts here, and batches are small: an estimate with noise of its own.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from course_lib.datasets.mixture import MixtureDataset, Task
from course_lib.lab.labels import told
from course_lib.training.loop import Batch, Objective, l1_objective

COLUMNS = ["step", "layer", "task_a", "task_b", "cosine", "norm_ratio"]
WHOLE = "whole model"


def fixed_batches(tasks: Sequence[Task], seed: int, count: int = 4, patch: int = 64) -> dict[str, Batch]:
    """Task -> (degraded, clean, label), (count, 3, patch, patch) twice and (count,): the same at every call. Labels as in a mixture."""
    batches = {}
    for place, task in enumerate(tasks):
        data = MixtureDataset([task], seed)
        degraded, clean, _ = zip(*(data[number, patch] for number in range(count)), strict=True)
        label = torch.full((count,), place if task.label is None else task.label)
        batches[task.name] = (torch.stack(degraded), torch.stack(clean), label)
    return batches


def stages(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Top-level part of the model (`encoder_level1`, ..., `refinement`) -> its weights that learn, in the order of the model."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(name.split(".")[0], []).append(parameter)
    return groups


def task_gradients(model: nn.Module, batches: Mapping[str, Batch], objective: Objective = l1_objective) -> dict[str, dict[str, Tensor]]:
    """Task -> stage -> gradient of its loss, one flat float64 vector a stage; weights that the loss does not reach count as zeros.

    The model comes back as it was: weights, buffers, `.grad`, training mode and the random states of torch are untouched.
    """
    groups = stages(model)
    flat = [parameter for group in groups.values() for parameter in group]
    found: dict[str, dict[str, Tensor]] = {}
    for task, batch in batches.items():
        with _undisturbed(model), torch.enable_grad(), told(model, batch[2] if len(batch) > 2 else None):
            gradients = iter(torch.autograd.grad(objective(model, batch), flat, allow_unused=True))
        found[task] = {stage: torch.cat([_flat(next(gradients), parameter) for parameter in group]) for stage, group in groups.items()}
    return found


def cosines(gradients: Mapping[str, Mapping[str, Tensor]], step: int = 0) -> list[dict]:
    """Rows of `COLUMNS`, one for every pair of tasks and stage, and one for the whole model; a zero gradient has no direction: NaN.

    `gradients` as `task_gradients` gives them. `pandas.DataFrame(rows)` is a tidy table. Raises ValueError for fewer than two tasks.
    """
    if len(gradients) < 2:
        raise ValueError(f"a cosine needs two tasks; got {', '.join(gradients) or 'none'}")
    rows = []
    for a, b in combinations(gradients, 2):
        pairs = {stage: (gradients[a][stage], gradients[b][stage]) for stage in gradients[a]}
        pairs[WHOLE] = tuple(torch.cat(list(gradients[task].values())) for task in (a, b))
        for layer, (one, other) in pairs.items():
            cosine, ratio = _compare(one, other)
            rows.append(dict(step=step, layer=layer, task_a=a, task_b=b, cosine=cosine, norm_ratio=ratio))
    return rows


def measure(model: nn.Module, batches: Mapping[str, Batch], step: int = 0, objective: Objective = l1_objective) -> list[dict]:
    """`cosines(task_gradients(...))`: the table of one moment of a training."""
    return cosines(task_gradients(model, batches, objective), step)


def heat_map(rows: Sequence[Mapping], pair: tuple[str, str] | None = None, value: str = "cosine") -> tuple[list[str], list[int], Tensor]:
    """(layers, steps, matrix (layers, steps)) of a table, for one pair of tasks or the mean over all; NaN where nothing was measured.

    Rows may come from a CSV file, with text for numbers. Layers keep their order. Raises ValueError when no row shows the pair.
    """
    chosen = [row for row in rows if pair is None or {row["task_a"], row["task_b"]} == set(pair)]
    if not chosen:
        raise ValueError(f"no row of the table shows {' and '.join(pair) if pair else 'any pair of tasks'}")
    layers = list(dict.fromkeys(row["layer"] for row in chosen))
    steps = sorted({int(row["step"]) for row in chosen})
    cells: dict[tuple[int, int], list[float]] = {}
    for row in chosen:
        cells.setdefault((layers.index(row["layer"]), steps.index(int(row["step"]))), []).append(float(row[value]))
    matrix = torch.full((len(layers), len(steps)), math.nan, dtype=torch.float64)
    for place, values in cells.items():
        matrix[place] = sum(values) / len(values)
    return layers, steps, matrix


def _compare(one: Tensor, other: Tensor) -> tuple[float, float]:
    a, b = float(one.norm()), float(other.norm())
    if not a or not b:
        return math.nan, math.inf if a else (0.0 if b else math.nan)
    return max(-1.0, min(1.0, float(one @ other) / (a * b))), a / b


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return (torch.zeros_like(parameter) if gradient is None else gradient).detach().reshape(-1).double().cpu()


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Random states and the model's buffers, which a forward pass in training may change (a queue of keys), come back."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])
