"""The CSV log of a run: one row every few steps, never lost, and cut back to the checkpoint when a killed run goes on."""

import csv
import io
from pathlib import Path

from course_lib.paths import write_atomic

COLUMNS = ["step", "loss", "lr", "patch", "batch", "grad_norm", "val_psnr", "seconds"]
TASK_COLUMNS = ["step", "task", "psnr", "seconds"]  # validation.csv of a run with several tasks
LEVEL_COLUMNS = ["step", "level", "loss", "count", "seconds"]  # levels.csv of a diffusion run; level k: times from k T / 10 on


def read_log(path: str | Path) -> list[dict[str, str]]:
    """The rows of a log as strings by column; a last line that a kill cut short is left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["seconds"]]


class Log:
    """Append rows to a CSV file; `after` cuts away rows past the step that a checkpoint holds."""

    def __init__(self, path: Path, after: int = 0, columns: list[str] = COLUMNS):
        self.path, self.columns = path, columns
        rows = [row for row in read_log(path) if int(row["step"]) <= after] if path.is_file() else []
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(path, text.getvalue())

    def write(self, **row) -> None:
        values = [row.get(column, "") for column in self.columns]
        line = ",".join(f"{value:.8g}" if isinstance(value, float) else str(value) for value in values)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
