"""The figures that papers print, each with its source: `data/published/*.csv`. None of them was measured by this project.

One row is one PSNR/SSIM pair, on full RGB, as printed; `note` says what is odd about it, `errata.csv` lists the rows known to be wrong.
"""

import csv
from dataclasses import dataclass
from functools import cache

from course_lib.paths import data_root

TABLES = ("three_tasks", "five_tasks", "dfpir_ablation", "cdd11")
SETTINGS = ("three-task", "five-task", "CDD-11")


@dataclass(frozen=True)
class Published:
    """One printed figure. `psnr` in dB; `sigma` (0-255) for noise only; `data` and `task` say on what, `average` and `mean` for means."""

    table: str
    method: str
    setting: str
    data: str
    task: str
    sigma: float | None
    psnr: float
    ssim: float
    source: str
    note: str


def _read(name: str) -> list[dict[str, str]]:
    path = data_root() / "published" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the published figures are missing; fetch the course's data folder again")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def _rows(table: str) -> tuple[Published, ...]:
    rows = []
    for number, row in enumerate(_read(table), 2):
        try:
            sigma = float(row["sigma"]) if row["sigma"] else None
            rows.append(Published(**{**row, "sigma": sigma, "psnr": float(row["psnr"]), "ssim": float(row["ssim"])}))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"data/published/{table}.csv, line {number}: {error}; restore the file from the repository") from None
    return tuple(rows)


def load_published(table: str | None = None) -> list[Published]:
    """All rows of one of `TABLES`, or of all of them, in the order of the files. Raises ValueError, FileNotFoundError."""
    if table is not None and table not in TABLES:
        raise ValueError(f"unknown table {table!r}; there are {', '.join(TABLES)}")
    return [row for name in ([table] if table else TABLES) for row in _rows(name)]


def query(
    *, data: str | None = None, sigma: float | None = None, setting: str | None = None, task: str | None = None, method: str | None = None
) -> list[Published]:
    """Rows that agree with everything given: data set, noise level, setting (one of `SETTINGS`), task, method. Raises ValueError."""
    if setting is not None and setting not in SETTINGS:
        raise ValueError(f"unknown setting {setting!r}; there are {', '.join(SETTINGS)}")
    wanted = {"data": data, "sigma": sigma, "setting": setting, "task": task, "method": method}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    return [row for row in load_published() if all(getattr(row, key) == value for key, value in wanted.items())]


def load_errata() -> list[dict[str, str]]:
    """What is known to be wrong in print: where, method, setting, data, printed, fault, instead, shown_in (our file that holds the row)."""
    return _read("errata")


def _condition(row: Published) -> str:
    """A short heading: `sigma 25`, `haze`, and L+H+R for CDD-11's low_haze_rain."""
    if row.sigma is not None:
        return f"sigma {row.sigma:g}"
    if row.data == "CDD-11" and row.task != "mean":
        return "+".join(word[0].upper() for word in row.task.split("_"))
    return row.task


def _block(rows: list[Published], cell, width: int, title: str) -> list[str]:
    """One line a method (setting, method, cells, number of the source), one column a condition."""
    conditions = list(dict.fromkeys(map(_condition, rows)))
    sources = list(dict.fromkeys(row.source for row in rows))
    lines = [f"{title:36}" + "".join(f"{name:>{width}}" for name in conditions)]
    for key in dict.fromkeys((row.setting, row.method, row.source) for row in rows):
        found = {_condition(row): cell(row) for row in rows if (row.setting, row.method, row.source) == key}
        cells = "".join(f"{found.get(name, '-'):>{width}}" for name in conditions)
        lines.append(f"{key[0]:11} {key[1]:24}{cells}  [{sources.index(key[2]) + 1}]")
    return lines


def published_text(rows: list[Published], data: str) -> str:
    """Published rows under a heading of their own, with sources and notes; never in a table with measured ones."""
    heading = "published (not measured here)"
    if not rows:
        return f"{heading}: no figures for {data}"
    if len({_condition(row) for row in rows}) > 6:
        body = _block(rows, lambda row: f"{row.psnr:.2f}", 7, "PSNR (dB)")
        body += ["", *_block(rows, lambda row: f"{row.ssim:.4f}".removesuffix("0"), 7, "SSIM"), "", "L low, H haze, R rain, S snow"]
    else:
        body = _block(rows, lambda row: f"{row.psnr:.2f} {row.ssim:.3f}", 14, "PSNR (dB), SSIM")
    sources = [f"[{number}] {source}" for number, source in enumerate(dict.fromkeys(row.source for row in rows), 1)]
    notes = {}
    for row in rows:
        for note in filter(None, row.note.split("; ")):
            notes.setdefault(note, []).append(row.method)
    remarks = [f"note: {', '.join(dict.fromkeys(methods))}: {note}" for note, methods in notes.items()]
    return "\n".join([f"{heading}, {data}", *body, *sources, *remarks])
