"""Diffusion restorers by the number of their steps, on the course's five-task test: `data/walk_steps.csv`.

    python -m course_lib.evaluation.walks rddm_small diffuir_small --steps 1 2 3 5 10

measures shipped models (or weights files) and puts the rows into the table; without a model it prints the table. Every row names the
seed, training steps, recipe and commit behind it, as the leaderboard's do.
"""

import argparse
import csv
import io
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from course_lib.evaluation.command import find_model, weights_file
from course_lib.evaluation.five_tasks import TASKS, load_protocol, task_pairs
from course_lib.evaluation.tiled import restore
from course_lib.metrics import psnr
from course_lib.paths import data_root, repo_commit, write_atomic

COLUMNS = ["model", "walk_steps", "task", "psnr", "input_psnr", "images", "seed", "steps", "seconds", "recipe", "commit"]


def walks_file() -> Path:
    """`data/walk_steps.csv`."""
    return data_root() / "walk_steps.csv"


def walk_rows(name: str, counts: Sequence[int], *, commit: str = "", device: str = "cpu") -> Iterator[dict]:
    """The rows of a shipped model or weights file, one for each task and number of steps, mean PSNR (dB) over the photographs.

    Raises ValueError for an unknown model, or one that takes no steps.
    """
    from course_lib.training.checkpoint import read_tensors

    model = find_model(name)
    if not (isinstance(model, nn.Module) and hasattr(model, "steps") and hasattr(model, "process")):
        raise ValueError(f"{name}: not a diffusion restorer, it has no number of steps")
    model.to(device)
    meta = read_tensors(weights_file(name))[1]
    stem = Path(name).stem  # a shipped name or a file's; a run's folder calls its weights final.safetensors
    called = meta.get("name") or stem if stem == "final" else stem
    facts = dict(model=called, commit=commit, **{key: meta.get(key) for key in ("seed", "steps", "seconds", "recipe")})
    protocol = load_protocol()
    for count in counts:
        model.steps = count
        for task in TASKS:
            pairs = list(task_pairs(task, protocol))
            scores = [psnr(restore(model, spoilt.to(device)).clamp(0, 1).cpu(), clean).item() for _, spoilt, clean in pairs]
            numbers = dict(psnr=statistics.fmean(scores), input_psnr=protocol["tasks"][task]["input_psnr"], images=len(pairs))
            yield facts | dict(walk_steps=count, task=task) | numbers


def read_walks(path: str | Path | None = None) -> list[dict]:
    """The rows of the table, numbers as numbers. Raises ValueError naming the file when it is missing or broken."""
    path = Path(path or walks_file())
    kinds = dict.fromkeys(("walk_steps", "images", "seed", "steps"), int) | dict.fromkeys(("psnr", "input_psnr", "seconds"), float)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: kinds.get(key, str)(row[key]) for key in COLUMNS} for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); `python -m course_lib.evaluation.walks MODEL` makes it") from None


def write_walks(rows: Sequence[dict], path: str | Path | None = None) -> Path:
    """Put `rows` into the table: those of the same model, number of steps and task are replaced, the others stay. Returns the file."""
    path = Path(path or walks_file())
    table = {(row["model"], row["walk_steps"], row["task"]): row for row in [*(read_walks(path) if path.is_file() else []), *rows]}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{row[key]:.4f}" if key.endswith("psnr") else row[key] for key in COLUMNS} for row in table.values())
    return write_atomic(path, text.getvalue())


def gains(rows: Sequence[dict]) -> dict[tuple[str, int], dict[str, float]]:
    """(model, number of steps) -> task -> gain over the input (dB), and their "mean"."""
    table: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        table.setdefault((row["model"], row["walk_steps"]), {})[row["task"]] = row["psnr"] - row["input_psnr"]
    return {key: own | {"mean": statistics.fmean(own.values())} for key, own in table.items()}


def walks_text(rows: Sequence[dict]) -> str:
    """The gains as a table to print."""
    lines = [f"{'gain over the input (dB)':28} {'steps':>5} " + " ".join(f"{task:>9}" for task in (*TASKS, "mean"))]
    for (model, count), own in gains(rows).items():
        lines.append(f"{model:28.28} {count:>5} " + " ".join(f"{own.get(task, float('nan')):>+9.2f}" for task in (*TASKS, "mean")))
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure the models named, print the table. Exit status 2 for a model that cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.evaluation.walks", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="a shipped diffusion restorer or a weights file")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 5, 10], help="numbers of steps to measure")
    parser.add_argument("-o", "--out", help="the table (data/walk_steps.csv)")
    given = parser.parse_args(words)
    try:
        for name in given.models:
            for row in walk_rows(name, given.steps, commit=repo_commit()):
                write_walks([row], given.out)  # one by one, so that a measurement that is stopped keeps what it has
        print(walks_text(read_walks(given.out)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
