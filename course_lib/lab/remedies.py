"""Cures for task interference behind one interface: change the model, or the gradient, or both; everything else stays the same.

A remedy is any object with

    name                                 for tables
    prepare(model, tasks) -> model       once, before training: the model with whatever parts it needs, in place or around it
    loss(model, batch, objective)        every step: a scalar whose `backward()` leaves the gradient that the step is to use

so that the repository's own loop (`training.loop.fit`) trains all of them alike. A batch is (degraded, clean, label), the label being the
task's place in `tasks`. Derive from `Joint` and write only what differs. A gradient of your own becomes a loss by `with_gradients`.
A run may be stopped and go on: what must last from step to step belongs into the model, as a parameter or buffer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from course_lib.lab.labels import TaskAware, told
from course_lib.training.loop import Batch, Objective


@runtime_checkable
class Remedy(Protocol):
    """What the harness asks of a remedy; see the top of the file."""

    name: str

    def prepare(self, model: nn.Module, tasks: Sequence[str]) -> nn.Module: ...

    def loss(self, model: nn.Module, batch: Batch, objective: Objective) -> Tensor: ...


class Joint:
    """No remedy: one loss over the whole batch, L = sum_t (n_t / n) L_t for n_t of n images of task t; `TaskAware` layers are told."""

    name = "none"

    def prepare(self, model: nn.Module, tasks: Sequence[str]) -> nn.Module:
        return model

    def loss(self, model: nn.Module, batch: Batch, objective: Objective) -> Tensor:
        with told(model, batch[2]):
            return objective(model, batch)


class PCGrad(Joint):
    """Gradient surgery, "projecting conflicting gradients" (Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, alg. 1).

    From g_i, the gradient of task i, goes what opposes another task j, for all j in random order,

        g_i <- g_i - min(0, <g_i, g_j>) / |g_j|^2 g_j,       the step uses sum_i g_i,

    with g_j as it was before any projection. g_i is the gradient of the task's share (n_i / n) L_i of the joint loss, so that without
    a conflict the step is `Joint`'s. The order comes from torch's random state, which a run seeds and its checkpoints keep.
    Over the whole model at once, as in the paper; one forward and backward pass a task, of its own images. A batch that the memory forces
    into parts is projected part by part.
    """

    name = "pcgrad"

    def loss(self, model: nn.Module, batch: Batch, objective: Objective) -> Tensor:
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        total, flat = torch.zeros((), device=batch[0].device), []
        for part in split_tasks(batch).values():
            loss = super().loss(model, part, objective) * (len(part[0]) / len(batch[0]))
            gradients = torch.autograd.grad(loss, learning, allow_unused=True)
            flat.append(torch.cat([_or_zero(g, p).reshape(-1) for g, p in zip(gradients, learning, strict=True)]))
            total = total + loss.detach()
        orders = [torch.randperm(len(flat)).tolist() for _ in flat]
        joined = torch.stack(project_conflicts(flat, orders)).sum(0)
        return with_gradients(total, learning, joined)


def project_conflicts(gradients: Sequence[Tensor], orders: Sequence[Sequence[int]] | None = None) -> list[Tensor]:
    """PCGrad's projections of flat gradients (P,), each against the raw others in `orders[i]` (default: as they stand)."""
    projected = []
    for i, gradient in enumerate(gradients):
        for j in range(len(gradients)) if orders is None else orders[i]:
            if j == i:
                continue
            inner = gradient @ gradients[j]
            if inner < 0:
                gradient = gradient - inner / gradients[j].square().sum() * gradients[j]
        projected.append(gradient)
    return projected


def with_gradients(loss: Tensor, parameters: Sequence[nn.Parameter], gradient: Tensor) -> Tensor:
    """A scalar of the value `loss` whose `backward()` gives `parameters` the flat `gradient` (P,) and nothing else.

    loss + <w - stop(w), g>: the second term is zero and its slope in w is g. Raises ValueError when the sizes differ.
    """
    sizes = [parameter.numel() for parameter in parameters]
    if gradient.shape != (sum(sizes),):
        raise ValueError(f"with_gradients: the parameters hold {sum(sizes)} numbers, the gradient {tuple(gradient.shape)}")
    pieces = zip(parameters, gradient.detach().split(sizes), strict=True)
    return loss.detach() + sum(((p - p.detach()) * g.view(p.shape).to(p.dtype)).sum() for p, g in pieces)


def split_tasks(batch: Batch) -> dict[int, Batch]:
    """Label -> the part of the batch that carries it, labels rising."""
    labels = batch[2]
    return {int(label): tuple(part[labels == label] for part in batch) for label in labels.unique()}


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """{"shared", "per_task", "total"}: numbers that learn; `per_task` are those of the `TaskAware` layers, of all tasks together."""
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    aware = [module for module in model.modules() if isinstance(module, TaskAware)]
    own = {id(p): p.numel() for module in aware for p in module.parameters(recurse=False) if p.requires_grad}
    return {"shared": total - sum(own.values()), "per_task": sum(own.values()), "total": total}


def make_remedy(remedy: str | Remedy, options: Mapping[str, Any] | None = None) -> Remedy:
    """A remedy by its name with its options, or your own object as it is. Raises ValueError for an unknown name or option."""
    from course_lib.lab.parts import Adapters, FrequencySplit, TaskNorm

    known = {kind.name: kind for kind in (Joint, PCGrad, TaskNorm, Adapters, FrequencySplit)}
    if not isinstance(remedy, str):
        if isinstance(remedy, type) or not isinstance(remedy, Remedy):
            said = (
                "hand over an object, not the class"
                if isinstance(remedy, type)
                else "it needs name, prepare and loss; derive it from Joint"
            )
            raise ValueError(f"{remedy!r} is no remedy: {said}")
        if options:
            raise ValueError(f"options {sorted(options)} go with a remedy's name; give your own object its options when you make it")
        return remedy
    if remedy not in known:
        raise ValueError(f"unknown remedy {remedy!r}; choose one of {', '.join(known)}, or pass an object of your own")
    try:
        return known[remedy](**(options or {}))
    except TypeError as error:
        raise ValueError(f"remedy {remedy!r}: {error}") from None


def _or_zero(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient
