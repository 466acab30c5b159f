"""summary.csv and summary.md of a run, written after every lesson, and the table printed at its end."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

COLUMNS = ("lesson", "edition", "status", "seconds", "degraded_psnr", "restored_psnr")


def read_summary(folder: Path) -> list[dict]:
    """Rows of an earlier run in `folder`; [] if it holds no summary.csv of ours."""
    path = Path(folder) / "summary.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [dict(row) for row in rows] if tuple(rows.fieldnames or ()) == COLUMNS else []


def write_summary(folder: Path, rows: list[dict]) -> None:
    """Write summary.csv (the contract's six columns) and summary.md (the same with notes), each in one piece."""
    from course_lib.paths import write_atomic

    rows = sorted(rows, key=lambda row: row["lesson"])
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(Path(folder) / "summary.csv", text.getvalue())
    lines = ["| " + " | ".join((*COLUMNS, "note")) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for row in rows:
        note = "; ".join(filter(None, [row.get("error", ""), row.get("note", "")]))
        cells = [str(row[name]) for name in COLUMNS] + [note]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    write_atomic(Path(folder) / "summary.md", "\n".join(lines) + "\n")


def print_table(rows: list[dict], say: Callable[[str], object] = print) -> None:
    """Print rows as a plain aligned table; a column `note` only if some row has one."""
    columns = [*COLUMNS, *(["note"] if any(row.get("note") for row in rows) else [])]
    table = [columns] + [[str(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    numeric = {"seconds", "degraded_psnr", "restored_psnr"}
    for line in table:
        cells = [cell.rjust(w) if name in numeric else cell.ljust(w) for cell, w, name in zip(line, widths, columns, strict=True)]
        say("  ".join(cells).rstrip())
