"""Models that are told which degradation a picture has, without changing how they are called: inside `with told(model, "haze"):`.

A blind model does not mind being told. One that is not blind refuses to guess: a guessed task would give a plausible and wrong picture.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

# what the course's tables, sets and recipes call the same degradation
_SAME = {"motion blur": "blur", "gaussian blur": "blur", "low": "low light", "lowlight": "low light", "gaussian noise": "noise"}


class TaskAware(nn.Module):
    """A layer that behaves differently for each task: `self.task()` is the label of every image, or of all, inside `told`.

    Derive your own from it. Outside `told` it refuses.
    """

    labels: Tensor | tuple[str, ...] | None = None

    def task(self) -> Tensor:
        """Whole numbers (B,), or (1,) where all images are of one task. Raises RuntimeError outside `told`, or where it was told names."""
        if self.labels is None:
            raise RuntimeError(f"{type(self).__name__} was not told the task; call the model inside `with told(model, labels):`")
        if isinstance(self.labels, tuple):
            raise RuntimeError(f"{type(self).__name__} knows tasks by number, and was told {', '.join(self.labels)}")
        return self.labels.reshape(-1)


@contextlib.contextmanager
def told(model: nn.Module, labels: Tensor | int | str | Sequence[str] | None) -> Iterator[nn.Module]:
    """Inside the `with` every `TaskAware` part of `model` knows `labels`, one for each image or one for all; other models do not mind.

    Numbers are places in the order of the tasks; names go to models that have words for their tasks (`Words`).
    """
    named = isinstance(labels, str) or (isinstance(labels, (list, tuple)) and any(isinstance(label, str) for label in labels))
    if named:
        labels = (labels,) if isinstance(labels, str) else tuple(labels)
    elif labels is not None:
        labels = torch.as_tensor(labels)
    layers = [module for module in model.modules() if isinstance(module, TaskAware)] if isinstance(model, nn.Module) else []
    for layer in layers:
        layer.labels = labels
    try:
        yield model
    finally:
        for layer in layers:
            layer.labels = None


class Words(TaskAware):
    """The texts of a model's tasks as vectors (N, D), `vectors`: called inside `told`, it gives one for each image or one for all, (B, D).

    `texts`: task -> text, in the order of the tasks' labels. `encoder`: one of `prompts.ENCODERS` or "auto", which encodes them; or a label
    "name:fingerprint" as a weights file has it, whose vectors come with the weights; or, to compare, "random:SEED" (normal numbers, which
    only tell the tasks apart) or "learned" (the same as parameters), `width` wide. Raises PromptError where a text cannot be encoded.
    """

    def __init__(self, texts: Mapping[str, str], encoder: str = "offline", width: int = 512):
        super().__init__()
        self.texts, kind = dict(texts), encoder.partition(":")[0]
        if kind in ("random", "learned"):
            generator = torch.Generator().manual_seed(int(encoder.partition(":")[2] or 0))
            vectors = torch.randn(len(self.texts), width, generator=generator)
        elif ":" in encoder:
            vectors = torch.zeros(len(self.texts), width)
        else:
            from course_lib.prompts import encode_words

            made = encode_words(list(self.texts.values()), encoder)
            vectors, encoder = made.vectors, made.encoder
        self.encoder = encoder
        if kind == "learned":
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors.clone())

    def find(self, name: str) -> int | None:
        """The place of the task that a name means: its own or its kind's ("low_light"; "noise 15" goes to the nearest level), else None."""
        kind, level = _kind(name)
        if name in self.texts:
            return list(self.texts).index(name)
        levels = {index: _kind(task)[1] for index, task in enumerate(self.texts) if _kind(task)[0] == kind}
        if not levels:
            return None
        ordered = sorted(levels, key=lambda index: levels[index] or 0)
        middle = ordered[len(ordered) // 2]
        return middle if level is None else min(ordered, key=lambda index: abs((levels[index] or 0) - level))

    def vector(self, name: str) -> Tensor:
        """The vector (D,) of one of the tasks by name, or of any text, which the model's own encoder then encodes. Raises PromptError."""
        place = self.find(name)
        return self.vectors[place] if place is not None else self.encode(name)

    def encode(self, text: str) -> Tensor:
        """Any text as (D,), by the encoder that the model was trained with. Raises PromptError where that cannot be had."""
        from course_lib.prompts import PromptError, encode_words, refuse_other

        name = self.encoder.partition(":")[0]
        if name in ("random", "learned"):
            raise PromptError(f"{text!r} is none of {', '.join(self.texts)}, and vectors that are {name} know no other text")
        made = encode_words(text.replace("_", " "), name)
        refuse_other({"encoder": self.encoder}, made)
        return made.vectors[0].to(self.vectors)

    def forward(self) -> Tensor:
        if isinstance(self.labels, tuple):
            return torch.stack([self.vector(name) for name in self.labels])
        return self.vectors[self.task().to(self.vectors.device)]


def _kind(name: str) -> tuple[str, float | None]:
    """("noise", 25.0) of "noise 25", ("blur", None) of "motion_blur"."""
    words, level = re.fullmatch(r"(.*?)\s*([\d.]+)?", name.lower().replace("_", " ").strip()).groups()
    return _SAME.get(words, words), None if level is None else float(level)
