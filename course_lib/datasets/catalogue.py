"""The benchmark sets of the field, as `data/catalogue.toml` describes them: terms, how each is had, layouts, pairing, protocol, traps."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from course_lib.paths import benchmark_root, data_root

HOWS = ("direct", "person")


class DataSetError(ValueError):
    """A benchmark set that is not there, or not as it should be; the message names the folder, what was expected and how to get it."""


@dataclass(frozen=True)
class Layout:
    """One way in which a split lies in its folder. Paths are relative; `*` is any one name, `{task}` a task, "." the folder itself."""

    split: str
    clean: tuple[str, ...]
    degraded: str | None
    pairing: str
    clean_files: str = "*"
    degraded_files: str = "*"
    only: str | None = None

    def __str__(self) -> str:
        parts = [*self.clean] if self.degraded is None else [self.degraded, *self.clean]
        patterns = [f" ({p})" for p in dict.fromkeys((self.degraded_files, self.clean_files)) if p != "*"]
        return " + ".join("the images themselves" if part == "." else part + "/" for part in dict.fromkeys(parts)) + "".join(patterns)


@dataclass(frozen=True)
class Entry:
    """One set. `files`: tables {url, name, bytes, sha256, md5, unpack, into, split}, of which only url and name are always there."""

    name: str
    aliases: tuple[str, ...]
    title: str
    task: str
    terms: str
    home: str
    how: str
    steps: str
    folder: str
    folders: tuple[str, ...]
    pairing: str
    splits: dict[str, int]
    layouts: tuple[Layout, ...]
    protocol: str
    traps: tuple[str, ...]
    source: dict[str, str]
    files: tuple[dict, ...] = ()
    tasks: tuple[str, ...] = ()
    input_psnr: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    clean_crop: int = 0
    doubles: int = 0

    def bytes(self, split: str | None = None) -> int | None:
        """Bytes of the downloads of one split (all without), None when a size is not known."""
        sizes = [file.get("bytes") for file in self.files if split is None or file.get("split", split) == split]
        return sum(sizes) if sizes and None not in sizes else None

    def place(self, root: str | Path | None = None) -> Path:
        """Where the set is expected under `root` (default: `benchmark_root()`)."""
        return Path(root or benchmark_root()) / self.folder

    def advice(self, root: str | Path | None = None) -> str:
        """What to do to have the set: the command or the steps, and the folder that is expected."""
        command = f"`course data get {self.name}` downloads it. By hand:\n" if self.how == "direct" else ""
        return f"{command}{self.steps}\nexpected in {self.place(root)}; home page {self.home}; terms: {self.terms}"

    def as_dict(self) -> dict:
        """Everything the catalogue says, for JSON."""
        layouts = [{"split": item.split, "layout": str(item), "pairing": item.pairing} for item in self.layouts]
        return {**vars(self), "layouts": layouts, "files": [dict(file) for file in self.files]}


def _words(value: str | list[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _layout(table: dict, pairing: str) -> Layout:
    table = {"pairing": pairing, **table}
    table["clean_files"] = table.pop("files", table.get("clean_files", "*"))
    return Layout(clean=_words(table.pop("clean")), degraded=table.pop("degraded", None), **table)


def _entry(table: dict) -> Entry:
    table = dict(table)
    table["layouts"] = tuple(_layout(item, table["pairing"]) for item in table["layouts"])
    table["steps"] = "\n".join(f"{number}. {step}" for number, step in enumerate(table["steps"], 1))
    for key in ("aliases", "folders", "traps", "tasks"):
        table[key] = _words(table.get(key))
    table["files"] = tuple(table.get("files", ()))
    return Entry(**table)


@cache
def catalogue() -> dict[str, Entry]:
    """Name -> entry of every set, in the order of `data/catalogue.toml`. Raises DataSetError naming a wrong entry."""
    path = data_root() / "catalogue.toml"
    entries = {}
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["set"]:
        try:
            entry = _entry(table)
        except (KeyError, TypeError) as error:
            raise DataSetError(f"{path}: the entry {table.get('name', '?')!r} is not complete ({error})") from None
        entries[entry.name] = entry
    return entries


def find_entry(name: str) -> Entry:
    """The entry of a name or one of its aliases, upper or lower case. Raises DataSetError listing the names."""
    for entry in catalogue().values():
        if name.casefold() in {word.casefold() for word in (entry.name, *entry.aliases)}:
            return entry
    raise DataSetError(f"no benchmark set {name!r} in the catalogue; there are {', '.join(catalogue())}")
