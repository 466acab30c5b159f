"""What stands on a report's cover: the run, the check results, the recorded figures; and where they are read from."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

from .report_text import LABELS


class ReportError(ValueError):
    """A notebook that cannot be read or a place that cannot be written; the message names the file and what to do."""


def cover(clean, path: Path, nb, options: dict, headings: int) -> dict:
    words, records = LABELS[options["lang"]], options["records"]
    meta = {**_parameters(nb), **{k: v for k, v in records.get("meta", {}).items() if v not in ("", None)}}
    versions = meta.get("versions")
    versions = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else str(versions or "")
    date = meta.get("date") or meta.get("finished") or meta.get("started") or nb.metadata.get("papermill", {}).get("end_time")
    date = str(date or datetime.datetime.fromtimestamp(path.stat().st_mtime).isoformat())[:16].replace("T", " ")
    facts = [
        ("author", options["author"]),
        ("student_id", options["student_id"]),
        ("notebook", path.name),
        ("date", date),
        ("profile", meta.get("profile")),
        ("seed", meta.get("seed")),
        ("device", meta.get("device")),
        ("versions", versions),
    ]
    checks = [
        {
            "id": clean(str(c.get("id", ""))),
            "title": clean(str(c.get("title", ""))),
            "points": _points(c),
            "status": c.get("status") if c.get("status") in ("correct", "wrong", "todo") else "todo",
        }
        for c in records.get("checks", [])
    ]
    earned, possible = (sum(_number(c.get(k)) for c in records.get("checks", [])) for k in ("points", "max_points"))
    results = []
    for record in records.get("records", []):
        piece = record.get("piece")
        if record.get("kind") == "number" or piece:
            value = record.get("value") if record.get("kind") in ("number", "text") else words.get(record.get("kind"), "")
            value = f"{value:.4g}" if isinstance(value, float) else str("" if value is None else value)[:60]
            row = {"name": record.get("name"), "value": value, "caption": record.get("caption"), "piece": words.get(piece, piece)}
            results.append({k: clean(str(v or "")) for k, v in row.items()})
    return {
        "title": clean(options["title"]),
        "author": clean(options["author"]),
        "lang": options["lang"],
        "checks": checks,
        "results": results,
        "facts": [[words[k], clean(str(v))] for k, v in facts if v not in ("", None)],
        "total": f"{earned:g} / {possible:g}",
        "contents": headings > 3,
    }


def _number(value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _points(check: dict) -> str:
    return f"{_number(check.get('points')):g} / {_number(check.get('max_points')):g}"


def _parameters(nb) -> dict:
    """Profile, seed and device from the notebook's parameter cells, for a notebook without records."""
    pattern = r"^[ \t]*(PROFILE|SEED|DEVICE)\s*=\s*[\"']?([^\"'\n#]*?)[\"']?\s*(?:#.*)?$"
    chosen = [cell for cell in nb.cells if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", []))]
    return {k.lower(): v for cell in chosen for k, v in re.findall(pattern, cell.source.replace(";", "\n"), flags=re.M)}


def find_records(path: Path, nb, given) -> tuple[dict, Path | None, list[str]]:
    """Content and folder of records.json, and warnings; one beside the notebook counts only if it is of the same lesson."""
    if isinstance(given, dict):
        return given, None, []
    beside = [path.parent / "records.json", path.parent / path.stem / "records.json", path.with_suffix(".json")]
    candidates = [Path(given)] if given is not None else beside
    for one in candidates:
        file = one / "records.json" if one.is_dir() else one
        if not file.is_file():
            if given is not None:
                raise ReportError(f"{file}: no such file; run the notebook first, it writes records.json into its OUT_DIR")
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
        except (OSError, ValueError) as error:
            raise ReportError(f"{file}: not readable as records ({error}); delete it and run the notebook again") from error
        lesson = nb.metadata.get("course", {}).get("lesson", path.stem)
        if given is not None or content.get("lesson") == lesson:
            return content, file.parent, []
    return {}, None, [f"{path.name}: no records.json found, the cover shows no check results"]
