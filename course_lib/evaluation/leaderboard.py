"""The table of the course's shipped all-in-one models: every task, every set that is there, beside the input and a classical method.

`data/leaderboard.csv` holds what was measured, each row with the seed, recipe and commit behind it; `course leaderboard` prints it and
`course leaderboard --measure` makes it afresh. Seconds an image are of one 320 x 320 picture on one CPU thread.
"""

import csv
import io
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from course_lib.evaluation.command import find_model, measure, weights_file
from course_lib.evaluation.five_tasks import load_protocol
from course_lib.evaluation.tiled import restore
from course_lib.models.told import told
from course_lib.paths import data_root, write_atomic

COLUMNS = [
    "model", "kind", "dataset", "task", "psnr", "ssim", "input_psnr", "input_ssim", "images", "parameters", "seconds_per_image",
    "seed", "steps", "recipe", "commit",
]  # fmt: skip
KINDS = ("input", "classical", "ours")
INPUT = "input"
COURSE = "five-tasks"
# set -> (noise levels, protocol, classical method); CBSD68 at the level of the five-task papers, GoPro's kernel is told to nobody
SETS: dict[str, tuple[list[float] | None, str, str]] = {
    COURSE: (None, "course", ""),
    "CBSD68": ([25.0], "promptir", "classical:nlm"),
    "Rain100L": (None, "promptir", "classical:rank-filter"),
    "SOTS-outdoor": (None, "promptir", "classical:dark-channel"),
    "GoPro": (None, "promptir", "classical:richardson-lucy"),
}
SIDE = 320


class LeaderboardError(ValueError):
    """A table that cannot be read or rows that cannot be measured; names the file and what to do."""


def leaderboard_file() -> Path:
    """`data/leaderboard.csv`."""
    return data_root() / "leaderboard.csv"


def all_in_one_models() -> list[str]:
    """The shipped models that were trained on several tasks: those whose recipe says `tasks`."""
    from course_lib.evaluation.command import shipped_models
    from course_lib.training.recipe import load_recipe, recipe_folder

    return [name for name in shipped_models() if (recipe_folder() / f"{name}.toml").is_file() and load_recipe(name).tasks]


def is_told(name: str) -> bool:
    """Whether a shipped model is told which degradation a picture has: whether its recipe has words for the tasks."""
    from course_lib.training.recipe import load_recipe, recipe_folder

    return (recipe_folder() / f"{name}.toml").is_file() and bool(load_recipe(name).config.get("words"))


def read_leaderboard(path: str | Path | None = None) -> list[dict]:
    """The rows, numbers as numbers and what is empty as None. Raises LeaderboardError naming the file and the line."""
    path = Path(path or leaderboard_file())
    if not path.is_file():
        raise LeaderboardError(f"{path}: no such table; `course leaderboard --measure` makes it")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or [])]:
            raise LeaderboardError(f"{path}: the column {missing[0]!r} is missing; restore the file or measure it again")
        rows = []
        for number, row in enumerate(reader, 2):
            try:
                rows.append({column: _number(column, row[column]) for column in COLUMNS})
            except (TypeError, ValueError) as error:
                raise LeaderboardError(f"{path}, line {number}: {error}; restore the file or measure it again") from None
    return rows


def leaderboard_text(rows: Sequence[dict], sets: Sequence[str] | None = None) -> str:
    """PSNR (dB) / SSIM by model and task, one block a data set; the rows of input and classical method first, then ours by mean.

    A figure below its input carries `<`, and a line under the block names it; another names the models that are told the degradation.
    """
    blocks = []
    for dataset in sets or list(dict.fromkeys(row["dataset"] for row in rows)):
        own = [row for row in rows if row["dataset"] == dataset]
        tasks = list(dict.fromkeys(row["task"] for row in own))
        by_model: dict[str, dict[str, dict]] = {}
        for row in own:
            by_model.setdefault(row["model"], {})[row["task"]] = row
        images = {row["task"]: row["images"] for row in own}
        head = f"{dataset}: " + ", ".join(f"{task} ({images[task]} images)" for task in tasks)
        wide = max([len(name) for name in by_model] + [20])
        titles = [*tasks, *(["mean"] if len(tasks) > 1 else [])]
        lines = [head, f"{'':{wide}} " + " ".join(f"{title:>14}" for title in titles) + f" {'gain':>6} {'M param':>8} {'s/image':>8}"]
        worse = []
        for name in sorted(by_model, key=lambda name: _place(by_model[name], tasks)):
            cells = [by_model[name].get(task) for task in tasks]
            shown = [_cell(cell) for cell in cells]
            worse += [f"{name} on {cell['task']} ({cell['psnr'] - cell['input_psnr']:+.2f} dB)" for cell in cells if _below(cell)]
            gain = ""
            if all(cells):
                if len(tasks) > 1:
                    shown.append(_mean(cells, "psnr", "ssim"))
                gain = "" if cells[0]["kind"] == INPUT else f"{statistics.mean(c['psnr'] - c['input_psnr'] for c in cells):+.2f}"
            size, seconds = (_known(cells, key) for key in ("parameters", "seconds_per_image"))
            size, seconds = f"{size / 1e6:.2f}" if size else "", f"{seconds:.2f}" if seconds else ""
            pad = "" if all(cells) or len(tasks) == 1 else " " * 15
            lines.append(f"{name:{wide}.{wide}} " + " ".join(f"{cell:>14}" for cell in shown) + pad + f" {gain:>6} {size:>8} {seconds:>8}")
        lines.append("below the input (<): " + (", ".join(worse) or "none"))
        if knowing := [name for name in by_model if is_told(name)]:
            lines.append("told the true degradation, the others are blind: " + ", ".join(knowing))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def measured_rows(
    models: Sequence[str],
    sets: Sequence[str] = tuple(SETS),
    *,
    commit: str = "",
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Iterable[dict]:
    """The rows of the input, of the classical method and of `models` on `sets`, as each set of a model is done.

    A set that is not there is named by `say` and left out. Raises LeaderboardError for an unknown set, ValueError for an unknown model.
    """
    from course_lib.images import ImageError

    if unknown := [name for name in sets if name not in SETS]:
        raise LeaderboardError(f"unknown set {unknown[0]!r}; there are {', '.join(SETS)}")
    facts = {name: _facts(name) for name in models}
    for dataset in sets:
        levels, protocol, classical = SETS[dataset]
        options = dict(sigmas=levels, protocol=protocol, device=device, progress=progress)
        try:
            yield from (_row(INPUT, INPUT, measured, {"commit": commit}) for measured in measure("identity", dataset, **options))
        except (ImageError, ValueError) as error:
            say(f"{dataset} left out: {error}")
            continue
        if classical:
            yield from (_row(classical, "classical", measured, {"commit": commit}) for measured in measure(classical, dataset, **options))
        else:
            yield from _protocol_rows(commit)
        for name in models:
            say(f"{name} on {dataset}")
            yield from (_row(name, "ours", measured, {**facts[name], "commit": commit}) for measured in measure(name, dataset, **options))


def write_leaderboard(rows: Iterable[dict], path: str | Path | None = None) -> Path:
    """Put `rows` into the table: those of the same model, set and task are replaced, the others stay. Returns the file."""
    path = Path(path or leaderboard_file())
    kept = read_leaderboard(path) if path.is_file() else []
    table = {_key(row): row for row in kept}
    table.update((_key(row), row) for row in rows)
    order = list(SETS)
    # within a set: input, classical, then ours as they came
    ordered = sorted(
        table.values(), key=lambda row: (order.index(row["dataset"]) if row["dataset"] in order else 99, KINDS.index(row["kind"]))
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _written(row[column]) for column in COLUMNS} for row in ordered)
    return write_atomic(path, text.getvalue())


def seconds_per_image(model: torch.nn.Module, side: int = SIDE, runs: int = 3) -> float:
    """Median seconds of restoring one side x side picture on one CPU thread, after a first run that does not count."""
    threads, image = torch.get_num_threads(), torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    times = []
    torch.set_num_threads(1)
    try:
        for _ in range(runs + 1):
            start = time.perf_counter()
            with told(model, "noise"):
                restore(model, image)
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times[1:])


def _facts(name: str) -> dict:
    """What the weights' file says of its making, and what can be seen of the model."""
    from course_lib.training.checkpoint import read_tensors

    model = find_model(name)
    meta = read_tensors(weights_file(name))[1]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds_per_image": seconds_per_image(model),
        **{key: meta.get(key) for key in ("seed", "steps", "recipe")},
    }


def _row(model: str, kind: str, measured: dict, facts: dict) -> dict:
    task = measured["task"] if measured["sigma"] is None else f"{measured['task']} {measured['sigma']:g}"
    numbers = dict(
        psnr=measured["restored_psnr"], ssim=measured["restored_ssim"], input_psnr=measured["degraded_psnr"],
        input_ssim=measured["degraded_ssim"], images=measured["images"],
    )  # fmt: skip
    return {column: None for column in COLUMNS} | dict(model=model, kind=kind, dataset=measured["data"], task=task) | numbers | facts


def _protocol_rows(commit: str) -> Iterable[dict]:
    """The classical rows of the course's own test, which `five_tasks.json` holds: each task has a method of its own."""
    for task, entry in load_protocol()["tasks"].items():
        numbers = dict(
            psnr=entry["classical"]["psnr"], ssim=entry["classical"]["ssim"], input_psnr=entry["input_psnr"],
            input_ssim=entry["input_ssim"], images=len(entry["photographs"]), commit=commit,
        )  # fmt: skip
        yield {column: None for column in COLUMNS} | dict(model="classical", kind="classical", dataset=COURSE, task=task) | numbers


def _number(column: str, text: str):
    if column in ("model", "kind", "dataset", "task", "recipe", "commit"):
        return text or None
    if not text:
        return None
    return int(text) if column in ("images", "parameters", "seed", "steps") else float(text)


def _written(value):
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else value


def _key(row: dict) -> tuple:
    return row["model"], row["dataset"], row["task"]


def _place(cells: dict[str, dict], tasks: Sequence[str]) -> tuple:
    """Where a model stands in its block: by kind, then by the mean of what it has."""
    found = [cells[task] for task in tasks if task in cells]
    return KINDS.index(found[0]["kind"]), -statistics.mean(cell["psnr"] for cell in found)


def _below(cell: dict | None) -> bool:
    return bool(cell) and cell["kind"] != INPUT and cell["psnr"] < cell["input_psnr"]


def _cell(cell: dict | None) -> str:
    return "" if cell is None else f"{'<' if _below(cell) else ''}{cell['psnr']:.2f} / {cell['ssim']:.3f}"


def _known(cells: Sequence[dict | None], key: str):
    return next((cell[key] for cell in cells if cell and cell[key]), None)


def _mean(cells: Sequence[dict], *keys: str) -> str:
    psnr, ssim = (statistics.mean(cell[key] for cell in cells) for key in keys)
    return f"{psnr:.2f} / {ssim:.3f}"
