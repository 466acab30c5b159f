"""Telling parts of a model which task each image of a batch belongs to, without changing how the model is called."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class TaskAware(nn.Module):
    """A layer that behaves differently for each task: `self.task()` is the label of every image, or of all, inside `told`.

    Derive your own from it. Outside `told` it refuses, since a guessed task would give a plausible and wrong picture.
    """

    labels: Tensor | None = None

    def task(self) -> Tensor:
        """Whole numbers (B,), or (1,) where all images are of one task. Raises RuntimeError outside `told`."""
        if self.labels is None:
            raise RuntimeError(f"{type(self).__name__} was not told the task; call the model inside `with told(model, labels):`")
        return self.labels.reshape(-1)


@contextlib.contextmanager
def told(model: nn.Module, labels: Tensor | int | None) -> Iterator[nn.Module]:
    """Inside the `with` every `TaskAware` layer of `model` knows `labels`, (B,) or one for all; models without such layers do not mind."""
    layers = [module for module in model.modules() if isinstance(module, TaskAware)]
    for layer in layers:
        layer.labels = None if labels is None else torch.as_tensor(labels)
    try:
        yield model
    finally:
        for layer in layers:
            layer.labels = None
