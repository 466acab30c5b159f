"""The lab's queue: a list of experiments in a TOML file, trained one after the other into one table, and what the table says.

`run_queue("data/lab/interference.toml", "runs/lab")` can be stopped at any moment and started again: what is in the table is skipped,
a run that was under way goes on from its last checkpoint. Several may run at once on one folder if `only` or
`seeds` give them different runs; start it once more at the end, which trains nothing and completes the table.
"""

import csv
import statistics
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from course_lib.lab.gradients import COLUMNS as GRADIENTS
from course_lib.lab.harness import Experiment, LabError, LabTask, read_rows, run, write_rows
from course_lib.lab.spectra import COLUMNS as SPECTRA
from course_lib.paths import data_root
from course_lib.training.loop import TrainingError
from course_lib.training.recipe import Recipe, RecipeError

TABLE = "results.csv"
LISTS = ("patches", "batches", "stage_ends", "betas")


def _short(text: str) -> float:
    return float(f"{float(text):.5g}")  # five digits: a shipped table is read and plotted, not computed with


_NUMBERS = dict(step=int, seed=int, cosine=_short, norm_ratio=_short, frequency=_short, power=_short)


def queue_file(name: str = "interference") -> Path:
    """A queue that comes with the course, `data/lab/<name>.toml`."""
    return data_root() / "lab" / f"{name}.toml"


def load_queue(path: str | Path) -> tuple[list[Experiment], list[int]]:
    """(experiments, seeds) of a TOML file: `seeds`, `probe_every`, a table `recipe` for all, `tasks.<name>`, `[[experiment]]`.

    An experiment states `name`, `tasks`, and what differs: `remedy`, `options`, `probe_every`, `recipe` (fields to change).
    Raises LabError naming the file and the entry.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"{path}: no such file; a queue of the course is {queue_file()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not valid TOML: {error}") from None
    try:
        _only(table, ("seeds", "probe_every", "recipe", "tasks", "experiment"), "the file")
        seeds = table["seeds"]
        if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds) or len(set(seeds)) < len(seeds):
            raise LabError(f"seeds is a list of different whole numbers, got {seeds!r}")
        tasks = {name: _task(name, dict(entry)) for name, entry in table["tasks"].items()}
        experiments = [_experiment(dict(entry), table, tasks) for entry in table["experiment"]]
    except KeyError as error:
        raise LabError(f"{path}: {error} is missing") from None
    except (LabError, ValueError, TypeError, AttributeError) as error:
        raise LabError(f"{path}: {error}") from None
    names = [experiment.name for experiment in experiments]
    if len(set(names)) < len(names):
        raise LabError(f"{path}: two experiments have one name; there are {', '.join(names)}")
    return experiments, seeds


def run_queue(
    path: str | Path | Sequence[Experiment],
    out: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    commit: str = "",
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] = print,
    **keywords: Any,
) -> list[dict]:
    """Train what is missing of a queue (a file, or experiments of your own) in `out`, and return the rows of `out/results.csv`.

    Seed by seed, so that a stopped queue has compared everything once before anything twice. `seeds` and `only` (names of
    experiments) choose a part. A run that fails is named and the others go on. Other keywords go to `harness.run`. Raises LabError
    when rows of another recipe stand under an experiment's name, or, at the end, when a run failed; lets Ctrl-C through.
    """
    experiments, listed = _queue(path)
    unknown = sorted(set(only) - {experiment.name for experiment in experiments})
    if unknown:
        raise LabError(f"no experiment {', '.join(unknown)}; there are {', '.join(experiment.name for experiment in experiments)}")
    chosen = [experiment for experiment in experiments if not only or experiment.name in only]
    table, failed = Path(out) / TABLE, []
    _check_table(table, experiments)
    queue = [(experiment, seed) for seed in (listed if seeds is None else seeds) for experiment in chosen]
    for number, (experiment, seed) in enumerate(queue, 1):
        said = f"[{number}/{len(queue)}] {experiment.name}, seed {seed}"
        if _done(table, experiment, seed):
            say(f"{said}: in the table")
            continue
        say(said)
        try:
            rows = run(experiment, seed, out, commit=commit, device=device, progress=progress, say=say, **keywords)
        except TrainingError as error:
            failed.append(f"{experiment.name}, seed {seed}: {error}")
            say(failed[-1])
            continue
        except KeyboardInterrupt:
            say(f"{said}: stopped; the same command goes on from here ({out})")
            raise
        _add(table, rows)
        say(f"{said}: " + ", ".join(f"{row['task']} {row['psnr']:.2f} dB (input {row['input_psnr']:.2f})" for row in rows))
    if failed:
        raise LabError("these runs failed, the others are in the table: " + "; ".join(failed))
    return read_rows(table) if table.is_file() else []


def finished_rows(path: str | Path | Sequence[Experiment], out: str | Path) -> list[dict]:
    """Rows of the finished runs of a queue in `out`, nothing trained. Raises LabError when there is none."""
    experiments, listed = _queue(path)
    tables = [experiment.folder(out, seed) / "rows.csv" for experiment in experiments for seed in listed]
    rows = [row for table in tables if table.is_file() for row in read_rows(table)]
    if not rows:
        raise LabError(f"{out} holds no finished run of this queue; start it without --report")
    return rows


def gather(path: str | Path | Sequence[Experiment], out: str | Path, to: str | Path, seeds: Sequence[int] | None = None) -> list[Path]:
    """Put the runs' tables together in folder `to`, to be shipped: results.csv, gradients.csv and spectra.csv, with experiment and seed.

    Takes what finished runs of the queue there are, and replaces files of those names. Raises LabError when there is none.
    """
    experiments, listed = _queue(path)
    runs = [(experiment, seed, experiment.folder(out, seed)) for experiment in experiments for seed in (seeds or listed)]
    runs = [found for found in runs if (found[2] / "rows.csv").is_file()]
    if not runs:
        raise LabError(f"{out} holds no finished run of this queue; start it with run_queue")
    write_rows(Path(to) / TABLE, [row for _, _, folder in runs for row in read_rows(folder / "rows.csv")])
    written = [Path(to) / TABLE]
    for name, columns in (("gradients.csv", GRADIENTS), ("spectra.csv", SPECTRA)):
        rows = [
            {"experiment": experiment.name, "seed": seed, **row}
            for experiment, seed, folder in runs
            if (folder / name).is_file()  # a run of one task has no cosine
            for row in read_table(folder / name)
        ]
        write_rows(Path(to) / name, rows, ["experiment", "seed", *columns])
        written.append(Path(to) / name)
    return written


def read_table(path: str | Path) -> list[dict]:
    """A table of gradients or spectra as dicts, numbers as numbers."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: _NUMBERS.get(key, str)(value) for key, value in row.items()} for row in csv.DictReader(file)]


def summary(rows: Sequence[dict]) -> list[dict]:
    """Mean and spread of each experiment and task over its seeds: dicts of experiment, task, seeds, psnr, spread, gain, parameters.

    `spread` is the standard deviation over the seeds (n - 1), NaN for one seed; `gain` the mean PSNR over the input's, both in dB.
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["experiment"], row["task"]), []).append(row)
    result = []
    for (experiment, task), group in groups.items():
        values = [row["psnr"] for row in group]
        mean = statistics.fmean(values)
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        gain = mean - statistics.fmean(row["input_psnr"] for row in group)
        result.append(
            dict(
                experiment=experiment, task=task, seeds=len(values), psnr=mean, spread=spread, gain=gain, parameters=group[0]["parameters"]
            )
        )
    return result


def compare(rows: Sequence[dict], against: str) -> list[dict]:
    """Every experiment beside `against`, task by task: difference of the means in dB, spread, and a verdict.

    The spread is the larger of the two standard deviations over seeds. Verdicts: "better", "worse", "smaller than the spread", or "one
    seed: no spread", which decides nothing. Raises LabError when `against` has no row.
    """
    found = {(row["experiment"], row["task"]): row for row in summary(rows)}
    if against not in {experiment for experiment, _ in found}:
        raise LabError(f"no row of experiment {against!r}; the table has {', '.join(sorted({e for e, _ in found})) or 'none'}")
    result = []
    for (experiment, task), row in found.items():
        base = found.get((against, task))
        if experiment == against or base is None:
            continue
        difference = row["psnr"] - base["psnr"]
        spread = max(row["spread"], base["spread"]) if min(row["seeds"], base["seeds"]) > 1 else float("nan")
        verdict = "better" if difference > 0 else "worse"
        if spread != spread:
            verdict = "one seed: no spread"
        elif abs(difference) <= spread:
            verdict = "smaller than the spread"
        result.append(dict(experiment=experiment, against=against, task=task, difference=difference, spread=spread, verdict=verdict))
    return result


def report(rows: Sequence[dict], against: str | None = None) -> str:
    """The summary as text, and the comparison with one experiment below it."""
    lines = [f"{'experiment':<18} {'task':<10} {'seeds':>5} {'PSNR dB':>9} {'spread':>7} {'gain':>7} {'parameters':>11}"]
    for row in summary(rows):
        numbers = f"{row['seeds']:>5} {row['psnr']:>9.2f} {row['spread']:>7.2f} {row['gain']:>+7.2f} {row['parameters']:>11,}"
        lines.append(f"{row['experiment']:<18} {row['task']:<10} {numbers}")
    for row in compare(rows, against) if against else []:
        said = f"{row['difference']:+.2f} dB, spread {row['spread']:.2f}: {row['verdict']}"
        lines.append(f"{row['experiment']} against {row['against']}, {row['task']}: {said}")
    return "\n".join(lines)


def _queue(path: str | Path | Sequence[Experiment]) -> tuple[list[Experiment], list[int]]:
    return load_queue(path) if isinstance(path, (str, Path)) else (list(path), [0, 1, 2])


def _only(table: dict, known: Sequence[str], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise LabError(f"unknown entry {', '.join(unknown)} in {where}; there are {', '.join(known)}")


def _task(name: str, entry: dict) -> LabTask:
    kind, clip = entry.pop("kind"), entry.pop("clip", True)
    task = LabTask(name, kind, {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}, clip)
    task.task([])  # an unknown kind or value shows here, not when its turn comes
    return task


def _experiment(entry: dict, table: dict, tasks: dict[str, LabTask]) -> Experiment:
    name = entry["name"]
    where = f"experiment {name!r}"
    _only(entry, ("name", "tasks", "remedy", "options", "probe_every", "recipe"), where)
    missing = [task for task in entry["tasks"] if task not in tasks]
    if missing:
        raise LabError(f"{where}: no task {', '.join(missing)}; there are {', '.join(tasks)}")
    settings = {**table.get("recipe", {}), **entry.get("recipe", {})}
    _only(settings, [item.name for item in fields(Recipe)], f"the recipe of {where}")
    settings = {key: tuple(value) if key in LISTS else value for key, value in settings.items()}
    try:
        recipe = Recipe(**settings)
    except RecipeError as error:
        raise LabError(f"{where}: {error}") from None
    made = Experiment(
        name, recipe, tuple(tasks[task] for task in entry["tasks"]), entry.get("remedy", "none"),
        entry.get("options", {}), entry.get("probe_every", table.get("probe_every", 0)),
    )  # fmt: skip
    made.hash()  # makes the remedy: a wrong name or option shows here
    return made


def _check_table(table: Path, experiments: Sequence[Experiment]) -> None:
    wanted = {experiment.name: experiment.hash() for experiment in experiments}
    for row in read_rows(table) if table.is_file() else []:
        if wanted.get(row["experiment"], row["recipe"]) != row["recipe"]:
            raise LabError(
                f"{table} holds rows of {row['experiment']!r} by another recipe ({row['recipe']}, now {wanted[row['experiment']]}); "
                "give the changed experiment another name, or use another folder"
            )


def _done(table: Path, experiment: Experiment, seed: int) -> bool:
    rows = read_rows(table) if table.is_file() else []
    tasks = {row["task"] for row in rows if (row["experiment"], row["seed"], row["recipe"]) == (experiment.name, seed, experiment.hash())}
    return tasks >= {task.name for task in experiment.tasks}


def _add(table: Path, rows: Sequence[dict]) -> None:
    """Put rows into the table as it now is on disk, in the place of those that they repeat."""

    def key(row: dict) -> tuple:
        return row["experiment"], row["seed"], row["task"]

    kept = read_rows(table) if table.is_file() else []
    write_rows(table, [*[row for row in kept if key(row) not in {key(new) for new in rows}], *rows])
