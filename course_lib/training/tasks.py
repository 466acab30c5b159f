"""All-in-one training: the mixture that a recipe with `tasks` trains on, its loss, and a validation figure for every task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib.datasets.folders import Pair, read_pairs
from course_lib.datasets.mixture import MixtureDataset, Source, setting_of, tasks_of
from course_lib.datasets.photos import load_photos
from course_lib.evaluation import restore
from course_lib.metrics import psnr
from course_lib.models.told import told
from course_lib.training.loop import Batch, Objective, l1_objective
from course_lib.training.recipe import Recipe

VALIDATION_SEED = 4000  # apart from the seeds of training and of the test protocol
SEEDS_A_TASK = 12  # so far apart begin the seeds of two tasks: one for each photograph of the split


def published_sources(setting: str) -> dict[str, list[Pair]]:
    """Task -> the training pairs (clean images for noise) that the papers of a setting use, under COURSE_DATA_DIR.

    Files are read at every use: the sets do not fit into memory. Raises DataSetError naming the set that is missing and how to have it.
    """
    return {task.name: [pair for name in task.train for pair in read_pairs(name, split="train")] for task in setting_of(setting).tasks}


def mixture(recipe: Recipe, images: Sequence[Source] | Mapping[str, Sequence[Source]]) -> MixtureDataset:
    """The tasks of `recipe.tasks` on clean `images`, or on sources by task. A contrastive model gets two views.

    Noise is not clipped, as in the course's tests; with `data = "published"` it is, as in the papers' code.
    """
    clip = recipe.data == "published"
    tasks = [
        replace(task, degrade=replace(task.degrade, clip=clip)) if task.degrade.kind == "gaussian_noise" else task
        for task in tasks_of(recipe.tasks, images)
    ]
    return MixtureDataset(tasks, recipe.seed, recipe.balance, 2 if recipe.model == "airnet" else 1, recipe.context)


def contrastive_objective(model: nn.Module, batch: Batch) -> Tensor:
    """AirNet's loss on (degraded, clean, label, key): L1 plus 0.1 of the contrastive cross-entropy (Li et al., CVPR 2022)."""
    from course_lib.models.airnet import airnet_loss

    degraded, clean, _, key = batch
    output = model(degraded, key)
    return airnet_loss(output._replace(restored=output.restored.float(), logits=output.logits.float()), clean)


def told_objective(names: Sequence[str]) -> Objective:
    """L1 of a model that is told the name of each image's task, `names[label]`: for those that are not blind."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        with told(model, [names[label] for label in batch[2].tolist()]):
            return l1_objective(model, batch)

    return objective


def objective_of(recipe: Recipe) -> Objective:
    """The loss that a recipe's model trains with. One that has words for its tasks (DFPIR) is told the task of each image."""
    if recipe.config.get("words"):
        return told_objective([task.name for task in setting_of(recipe.tasks).tasks])
    return contrastive_objective if recipe.model == "airnet" else l1_objective


def task_validation(setting: str, split: str = "validation", crop: int = 192) -> Callable[[nn.Module], dict[str, float]]:
    """A `validate` for fit: task -> mean PSNR in dB on centre crops of a split of the photographs, spoilt in the same way at every call.

    A model that is not blind is told the task.
    """
    from course_lib.degradations.composite import DEGRADATIONS
    from course_lib.evaluation.protocol import centre_crop

    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for number, task in enumerate(setting_of(setting).tasks):
        for index, photo in enumerate(load_photos(split).values()):
            seed = VALIDATION_SEED + SEEDS_A_TASK * number + index
            clean = centre_crop(photo[None], side=crop)
            parameters = DEGRADATIONS[task.kind].sample(seed, **{k: v for k, v in task.parameters.items() if not isinstance(v, tuple)})
            degraded = parameters.apply(clean, [seed], clip=task.kind != "gaussian_noise")
            pairs.setdefault(task.name, []).append((degraded, clean))

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        scores = {}
        for task, images in pairs.items():
            with told(model, task):
                values = [psnr(restore(model, degraded.to(device)).clamp(0, 1).cpu(), clean) for degraded, clean in images]
            scores[task] = float(torch.cat(values).mean())
        return scores

    validate.pairs = pairs  # for those who want to look at them
    return validate
