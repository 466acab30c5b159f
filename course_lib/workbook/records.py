"""What a lesson records for the report: figures, numbers, tables and check results, in OUT_DIR as it goes along."""

import importlib.metadata
import io
import json
import platform
import re
from pathlib import Path
from typing import Any

from course_lib.paths import ensure_folder, write_atomic

_FILE = "records.json"
_state: dict[str, Any] = {"folder": None, "content": None}


def begin(lesson: str, out_dir: str | Path, *, profile: str, seed: int, device: Any) -> Path:
    """Start the records of a lesson in `out_dir` ("" for `runs/notebook/<lesson>` here); returns the folder. Raises NotADirectoryError."""
    folder = ensure_folder(Path(out_dir) if str(out_dir) else Path("runs") / "notebook" / lesson)
    versions = {"python": platform.python_version()}
    for name in ("torch", "numpy", "course-lib"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    meta = {"profile": profile, "seed": seed, "device": str(device), "versions": versions}
    _state.update(folder=folder, content={"lesson": lesson, "meta": meta, "records": [], "checks": []})
    _save()
    return folder


class RecordedFigure:
    """A figure as it was kept, shown in the notebook without drawing it a second time: PNG, or JPEG where that halves the bytes.

    Photographs with noise in them are what PNG is worst at; in JPEG a notebook full of them stays under 3 MB. `.figure` is the original.
    """

    def __init__(self, figure: Any, png: bytes):
        from PIL import Image

        self.figure = figure
        image = Image.open(io.BytesIO(png)).convert("RGB")  # matplotlib's fourth channel says nothing: a page is opaque
        smaller, buffer = io.BytesIO(), io.BytesIO()
        image.save(smaller, "PNG", optimize=True)  # the same pixels in a tenth less
        image.save(buffer, "JPEG", quality=85, subsampling=0)
        self.png = min(png, smaller.getvalue(), key=len)
        self.jpeg = buffer.getvalue() if 2 * len(buffer.getvalue()) < len(png) else None

    def _repr_png_(self) -> bytes | None:
        return None if self.jpeg else self.png

    def _repr_jpeg_(self) -> bytes | None:
        return self.jpeg


def _save() -> None:
    write_atomic(_state["folder"] / _FILE, json.dumps(_state["content"], indent=1, ensure_ascii=False))


def _replace(items: list[dict], key: str, item: dict) -> None:
    """Running a cell twice replaces what it recorded, in its old place."""
    for index, old in enumerate(items):
        if old[key] == item[key]:
            items[index] = item
            return
    items.append(item)


def record(name: str, value: Any, caption: str = "", piece: str | None = None) -> Any:
    """Keep a number, text, DataFrame or matplotlib figure for the report; returns it (a figure as `RecordedFigure`).

    `piece` says whose code made it ("your piece", "the reference piece"; see `checks.provenance`). Raises RuntimeError before
    `begin`, ValueError for a name that cannot be a file name and TypeError for a value it cannot keep.
    """
    if _state["content"] is None:
        raise RuntimeError("record: call course_lib.workbook.records.begin(...) first; the lesson's set-up cell does")
    if not re.fullmatch(r"[A-Za-z0-9_\-]+", name):
        raise ValueError(f"record: {name!r} is no plain name (letters, digits, _ and -)")
    item: dict[str, Any] = {"name": name, "caption": caption, "piece": piece}
    if hasattr(value, "savefig"):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png", dpi=100)
        value = RecordedFigure(value, buffer.getvalue())
        write_atomic(_state["folder"] / f"{name}.png", value.png)
        item.update(kind="figure", file=f"{name}.png")
    elif hasattr(value, "to_csv"):
        write_atomic(_state["folder"] / f"{name}.csv", value.to_csv(index=False))
        item.update(kind="table", file=f"{name}.csv", value=json.loads(value.to_json(orient="records")))
    elif isinstance(value, bool) or isinstance(value, str):
        item.update(kind="text", value=str(value))
    elif isinstance(value, (int, float)) or hasattr(value, "item"):
        item.update(kind="number", value=value.item() if hasattr(value, "item") else value)
    else:
        raise TypeError(f"record: cannot keep a {type(value).__name__}; give a number, a text, a DataFrame or a figure")
    _replace(_state["content"]["records"], "name", item)
    _save()
    return value


def note_check(result: Any) -> None:
    """Note a check's result for the report; without `begin` (a check outside a lesson) nothing is kept."""
    if _state["content"] is None:
        return
    keys = ("id", "title", "status", "points", "max_points", "message")
    _replace(_state["content"]["checks"], "id", {key: getattr(result, key) for key in keys})
    _save()
