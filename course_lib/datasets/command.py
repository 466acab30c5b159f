"""`course data`: the catalogue of benchmark sets, their download and their check, and sets made from one's own images."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from course_lib.datasets.catalogue import DataSetError, Entry, catalogue, find_entry
from course_lib.paths import benchmark_root

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Benchmark sets: list, get, check, make.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Root = Annotated[Path | None, typer.Option(help="Folder that holds the sets; default COURSE_DATA_DIR.")]


def _print(data, text: str, as_json: bool) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str) if as_json else text)


def _say(as_json: bool):
    return (lambda line: print(line, file=sys.stderr)) if as_json else print


def presence(entry: Entry, root: str | Path | None = None) -> dict[str, dict]:
    """Split -> {count, of, folder} of what is there of a set under `root`; counted by name, not opened."""
    from course_lib.datasets.folders import locate

    found = {split: locate(entry, split, root=root) for split in entry.splits}
    return {name: {"count": len(item.pairs), "of": entry.splits[name], "folder": str(item.folder)} for name, item in found.items() if item}


def _row(entry: Entry, root: Path | None) -> dict:
    return {
        "name": entry.name, "task": entry.task, "how": entry.how, "terms": entry.terms, "splits": entry.splits,
        "bytes": entry.bytes(), "home": entry.home, "present": presence(entry, root),
    }  # fmt: skip


def _cells(row: dict) -> list[str]:
    splits = ", ".join(f"{split} {count}" for split, count in row["splits"].items())
    there = "; ".join(f"{split} {item['count']}/{item['of']} in {item['folder']}" for split, item in row["present"].items())
    return [row["name"], row["task"], row["how"], shorten(row["terms"], 48, placeholder=" ..."), splits, there or "-"]


def _table(rows: list[dict]) -> str:
    lines = [["name", "task", "how", "terms", "images or pairs", "present"], *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[5]]) for line in lines)


def _card(entry: Entry, row: dict) -> str:
    """Everything about one set, for reading."""
    layouts = "\n".join(f"  {item.split}: {item}, {item.pairing}" + (f" (in {item.only})" if item.only else "") for item in entry.layouts)
    traps = "\n".join(f"  - {trap}" for trap in entry.traps)
    sources = "\n".join(f"  {fact}: {where}" for fact, where in entry.source.items())
    blocks = {"layouts": layouts, "protocol": f"  {entry.protocol}", "traps": traps, "sources": sources}
    more = "\n\n".join(f"{title}\n{block}" for title, block in blocks.items())
    return f"{entry.title}\n{_table([row])}\n\n{entry.advice()}\n\n{more}"


@data_app.command(name="list")
def list_sets(
    names: Annotated[list[str] | None, typer.Argument(help="Sets to show in full; a table of all without.")] = None,
    root: Root = None,
    json_: Json = False,
):
    """The sets of the field: task, how each is had, terms, sizes, and what of it is here; with NAME everything known about it."""
    entries = [find_entry(name) for name in names] if names else list(catalogue().values())
    rows = [_row(entry, root) for entry in entries]
    if names:
        data = [{**entry.as_dict(), "present": row["present"]} for entry, row in zip(entries, rows, strict=True)]
        _print(data, "\n\n\n".join(map(_card, entries, rows)), json_)
    else:
        _print(
            rows,
            f"{_table(rows)}\n\n{len(rows)} sets; `course data list NAME` tells all about one; looked in {root or benchmark_root()}",
            json_,
        )


def _parts(entry: Entry, split: str | None) -> list[Entry]:
    """What `fetch` is called with: the whole set, or one part for each file that is a split of its own, so that each can come alone."""
    if split is not None and split not in entry.splits:
        raise DataSetError(f"{entry.name} has no split {split!r}; it has {', '.join(entry.splits)}")
    if entry.how != "direct" or not any("split" in file for file in entry.files):
        return [entry]
    chosen = [file for file in entry.files if split in (None, file["split"])]
    return [
        replace(entry, folder=f"{entry.folder}/{file['into']}", files=({key: value for key, value in file.items() if key != "into"},))
        for file in chosen
    ]


def _is_here(entry: Entry, split: str | None, root: Path | None) -> bool:
    found = presence(entry, root)
    wanted = [split] if split else list(entry.splits)
    return all(name in found and found[name]["count"] >= entry.splits[name] for name in wanted)


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(help="A set of `course data list`.")],
    split: Annotated[str | None, typer.Option(help="Only this split, where splits are separate downloads.")] = None,
    root: Root = None,
    json_: Json = False,
):
    """Download a set: resumed where it was cut off, checked, unpacked. What only a person can have is told with the steps (status 1)."""
    entry, say = find_entry(name), _say(json_)
    root = root or benchmark_root()
    parts = _parts(entry, split)
    result = {"name": entry.name, "how": entry.how, "folder": str(entry.place(root)), "terms": entry.terms, "steps": entry.steps}
    if _is_here(entry, split, root):
        status = "present"
    elif entry.how != "direct":
        status = "person"
    else:
        from course_lib.datasets.download import fetch

        size = entry.bytes(split)
        say(f"{entry.name}: {f'{size / 1e6:,.0f} MB' if size else 'size not known'}; terms: {entry.terms}; home page {entry.home}")
        there = all((root / part.folder).is_dir() for part in parts)
        for part in parts:
            fetch(part, root, progress=not json_, say=say)
        status = "present" if there else "fetched"
    result |= {"status": status, "present": presence(entry, root)}
    lines = [f"{entry.name}: {key} {item['count']} of {item['of']} in {item['folder']}" for key, item in result["present"].items()]
    if status == "person":
        lines.insert(0, f"{entry.name} cannot be downloaded without a person:\n{entry.advice(root)}")
    elif not result["present"]:
        lines.append(f"{entry.name}: downloaded, but no known layout was found in {result['folder']}; `course data check {entry.name}`")
    _print(result, "\n".join(lines), json_)
    raise typer.Exit(int(status == "person" or not result["present"]))


@data_app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A set of `course data list`; every set that is here without.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="The folder to check; without, where the set lies under COURSE_DATA_DIR.")] = None,
    folder_option: Annotated[Path | None, typer.Option("--folder", help="The same as the second argument.")] = None,
    json_: Json = False,
):
    """Validate a folder that you have, file by file, and say what is missing or wrong (status 1 on an error). Changes nothing."""
    from course_lib.datasets.inspect_set import check_set

    where = folder or folder_option
    if where is not None and not where.exists():
        raise DataSetError(f"{where}: no such folder")
    names = [name] if name else [entry.name for entry in catalogue().values() if presence(entry)]
    if not names:
        raise DataSetError(f"none of the sets is under {benchmark_root()}; set COURSE_DATA_DIR, or name a set and its folder")
    reports = []
    for item in names:
        report = check_set(item, where, progress=not json_)
        reports.append(report)
        if not json_:
            print(report, end="\n\n" if len(names) > 1 else "\n", flush=True)
    if json_:
        print(json.dumps(reports[0].as_dict() if name else [report.as_dict() for report in reports], indent=2, ensure_ascii=False))
    raise typer.Exit(int(not all(report.ok for report in reports)))


@data_app.command()
def make(
    what: Annotated[str, typer.Argument(help="cdd11: the eleven tasks of CDD-11.")],
    clean: Annotated[Path, typer.Argument(metavar="CLEAN_DIR", help="Folder of clean images, any size.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the new set.")],
    processes: Annotated[int | None, typer.Option(help="Processes; as many as cores without.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same pixels.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Only the first images.")] = None,
    depth: Annotated[Path | None, typer.Option(help="Folder of depth maps (near = bright) with the images' names.")] = None,
    rain: Annotated[Path | None, typer.Option(help="Folder of rain masks to draw from.")] = None,
    snow: Annotated[Path | None, typer.Option(help="Folder of snow masks to draw from.")] = None,
    json_: Json = False,
):
    """Compose a CDD-11-like set from any clean images, with every parameter recorded. Stopped, the same command goes on."""
    if what.casefold() not in ("cdd11", "cdd-11"):
        raise DataSetError(f"do not know how to make {what!r}; there is cdd11")
    from course_lib.datasets.cdd11 import Maps, make_cdd11

    maps = Maps(depth=depth, rain=rain, snow=snow)
    result = make_cdd11(clean, output, processes=processes, seed=seed, limit=limit, maps=maps, progress=not json_, say=_say(json_))
    text = f"{result['out']}: {result['images']} scenes, {result['made']} made, {result['kept']} were there"
    failed = result["failed"]
    _print(result, text + (f", {len(failed)} FAILED: {', '.join(failed)}" if failed else ""), json_)
    raise typer.Exit(int(bool(failed)))
