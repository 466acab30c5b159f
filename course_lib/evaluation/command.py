"""`course eval`: a model by name or file, a data set by name or folder; what was measured, and apart from it what was published."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from course_lib.evaluation.classical import CLASSICAL
from course_lib.evaluation.datasets import CDD11_TASKS, EvaluationSet, clean_files, find_set, pairs_by_task
from course_lib.evaluation.five_tasks import load_protocol, table_text, task_pairs
from course_lib.evaluation.protocol import SAVED_AS_PNG, Score, evaluate, given_pairs, mean_scores, noisy_pairs
from course_lib.evaluation.published import Published, published_text, query
from course_lib.evaluation.tiled import restore, restore_tiled
from course_lib.models.told import told
from course_lib.paths import data_root, shipped_weights

WHOLE_IMAGE_PIXELS = 1 << 20  # larger images are restored in tiles
SIGMAS = (15.0, 25.0, 50.0)
PREFIX = "classical:"
NUMBERS = ("degraded_psnr", "degraded_ssim", "restored_psnr", "restored_ssim")


def shipped_models() -> list[str]:
    """Names of the weights in `data/checkpoints`."""
    return sorted(path.stem for path in (data_root() / "checkpoints").glob("*.safetensors"))


def weights_file(name: str) -> Path:
    """The file that a model's name means: shipped weights, else a path, which need not be there."""
    shipped = shipped_weights(name)
    return shipped if shipped.is_file() else Path(name)


def find_model(name: str) -> nn.Module | Callable | None:
    """A shipped model by name, a model from a weights file, a function for `classical:NAME`, or None for `identity`.

    Raises ValueError, CheckpointError.
    """
    from course_lib.training.checkpoint import load_weights

    if name == "identity":
        return None
    if name.startswith(PREFIX):
        if name.removeprefix(PREFIX) not in CLASSICAL:
            raise ValueError(f"unknown classical method {name!r}; there are {', '.join(PREFIX + key for key in CLASSICAL)}")
        return CLASSICAL[name.removeprefix(PREFIX)]
    path = weights_file(name)
    if not path.is_file():
        names = ["identity", *shipped_models(), *(PREFIX + key for key in CLASSICAL)]
        raise ValueError(f"unknown model {name!r}: neither a file nor one of {', '.join(names)}")
    return load_weights(path)


def _restore(model, image):
    """A network on the whole image or in tiles; a classical function always on the whole image."""
    if not isinstance(model, nn.Module):
        return model(image)
    whole = image.shape[-1] * image.shape[-2] <= WHOLE_IMAGE_PIXELS
    return restore(model, image) if whole else restore_tiled(model, image)


def _conditions(entry: EvaluationSet, protocols, sigmas) -> Iterator[tuple[str, str, float | None, int, Callable]]:
    """(protocol, task, sigma, number of images, maker of the pairs) of every row to measure."""
    if entry.task == "noise":
        files = clean_files(entry.name)
        for name in protocols:
            for sigma in sigmas or SIGMAS:
                yield name, "noise", sigma, len(files), lambda name=name, sigma=sigma: noisy_pairs(files, sigma, name)
        return
    if entry.name == "five-tasks":
        protocol = load_protocol()
        for task, own in protocol["tasks"].items():
            yield "course", task, None, len(own["photographs"]), lambda task=task: task_pairs(task, protocol)
        return
    tasks = pairs_by_task(entry)
    for name in protocols:
        for task, pairs in tasks.items():
            yield name, task, None, len(pairs), lambda name=name, pairs=pairs: given_pairs(pairs, name)


def _check(entry: EvaluationSet, sigmas, protocol) -> None:
    if protocol and protocol not in entry.protocols:
        raise ValueError(f"unknown protocol {protocol!r} for {entry.name}; there are {', '.join(entry.protocols)}")
    if sigmas and entry.task != "noise":
        raise ValueError(f"{entry.name} brings its own {entry.task} images: leave --sigma out")


def measure(model_name, data, sigmas=None, protocol=None, *, clip=True, device="auto", progress=True) -> Iterator[dict]:
    """The measured rows, each as soon as it is done, so that a long run that is stopped keeps what it has.

    Keys: model, data, protocol, task, sigma (None but for noise), images, of (size of the whole set, None for photos and folders), degraded
    and restored PSNR (dB) and SSIM. CDD-11 ends with the mean of its tasks. A model that is not blind (DFPIR) is told the row's true task.
    Raises ValueError, ImageError, CheckpointError, PromptError where such a model has no words for a task.
    """
    from tqdm import tqdm

    from course_lib.doctor import usable_device

    entry = find_set(data)
    _check(entry, sigmas, protocol)
    model, place = find_model(model_name), usable_device(device)
    if isinstance(model, nn.Module):
        model.to(place)
    finished = []
    for name, task, sigma, images, make in _conditions(entry, [protocol] if protocol else entry.protocols, sigmas):
        label = f"{name} {task if sigma is None else f'sigma {sigma:g}'}"
        pairs = tqdm(make(), desc=label, total=images, disable=not progress, unit="image", leave=False)
        clipped = clip and model is not None  # the identity stands for the input as it is, float noise and all
        with told(model, task if sigma is None else f"{task} {sigma:g}"):
            scores: list[Score] = evaluate(
                model, pairs, restorer=_restore, clip=clipped, to_8bit=clipped and name in SAVED_AS_PNG, device=place
            )  # fmt: skip
        of = entry.images // len(CDD11_TASKS) if entry.name == "CDD-11" else entry.images
        base = {"model": model_name, "data": entry.name, "protocol": name, "task": task, "sigma": sigma, "images": images, "of": of}
        finished.append({**base, **mean_scores(scores)})
        yield finished[-1]
    if entry.name == "CDD-11":
        yield _mean_of_tasks(finished, entry)


def _mean_of_tasks(rows: list[dict], entry: EvaluationSet) -> dict:
    """The figure that CDD-11's papers print: the mean over the tasks; with some missing, the row says how many it has."""
    task = "mean" if len(rows) == len(CDD11_TASKS) else f"mean of {len(rows)}/{len(CDD11_TASKS)} tasks"
    means = {key: float(np.mean([row[key] for row in rows])) for key in NUMBERS}
    return {**rows[0], "task": task, "images": sum(row["images"] for row in rows), "of": entry.images, **means}


def evaluation_table(model_name, data, sigmas=None, protocol=None, *, clip=True, device="auto", progress=True) -> list[dict]:
    """All rows of `measure` as a list."""
    return list(measure(model_name, data, sigmas, protocol, clip=clip, device=device, progress=progress))


def published_for(data: str, sigmas=None) -> list[Published]:
    """What papers print for a data set, for noise at the given levels; nothing for `photos` and folders."""
    rows = query(data=find_set(data).name)
    wanted = set(sigmas or SIGMAS)
    return [row for row in rows if row.sigma is None or row.sigma in wanted]


def report(measured: list[dict], data: str, sigmas=None) -> dict[str, list[dict]]:
    """What `course eval --json` prints: `measured` and `published` rows, apart; for the course's own test the `classical` rows too."""
    if find_set(data).name == "five-tasks":
        rows = [{"task": task, **entry["classical"]} for task, entry in load_protocol()["tasks"].items()]
        return {"measured": measured, "published": [], "classical": rows}
    return {"measured": measured, "published": [asdict(row) for row in published_for(data, sigmas)]}


def measured_text(rows: list[dict]) -> str:
    """The measured rows as a table; a partial set says so (`2 of 500`)."""
    noise = not rows or rows[0]["sigma"] is not None
    wide = max([10, *(len(row["task"]) for row in rows)]) if not noise else 5
    lines = [
        f"{'model':28} {'data':12} {'protocol':10} {'sigma' if noise else 'task':>{wide}} {'images':>12} {'input':>13} {'restored':>13}"
    ]
    for row in rows:
        count = str(row["images"]) if row["of"] in (None, row["images"]) else f"{row['images']} of {row['of']}"
        condition = f"{row['sigma']:g}" if noise else row["task"]
        lines.append(
            f"{row['model']:28.28} {row['data']:12.12} {row['protocol']:10} {condition:>{wide}} {count:>12} "
            f"{row['degraded_psnr']:6.2f} {row['degraded_ssim']:.4f} {row['restored_psnr']:6.2f} {row['restored_ssim']:.4f}"
        )
    return "\n".join(lines)


def report_text(measured: list[dict], data: str, sigmas=None) -> str:
    """What `course eval` prints: the measured table, a blank line, and the published block under its own heading."""
    if find_set(data).name == "five-tasks":
        head = "classical methods on the same pictures (measured: python -m course_lib.evaluation.five_tasks)"
        return f"{measured_text(measured)}\n\n{head}\n{table_text(load_protocol())}"
    return f"{measured_text(measured)}\n\n{published_text(published_for(data, sigmas), find_set(data).name)}"
