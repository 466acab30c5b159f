"""Reading the benchmark sets of the catalogue, in whichever of their known layouts the user's folder is."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from course_lib.datasets.catalogue import DataSetError, Entry, Layout, find_entry
from course_lib.datasets.catalogue_pairing import match
from course_lib.images import IMAGE_SUFFIXES, ImageError, load_image
from course_lib.paths import benchmark_root


@dataclass(frozen=True)
class Pair:
    """A degraded file (None where a set is clean only) and its clean one; `crop` pixels come off every side of a larger clean image."""

    name: str
    degraded: Path | None
    clean: Path
    task: str
    crop: int = 0

    def load(self) -> tuple[Tensor | None, Tensor]:
        """(degraded, clean), each (3, H, W) in [0, 1] of one size. Raises ImageError naming the file that is broken or does not fit."""
        clean = load_image(self.clean)
        if self.degraded is None:
            return None, clean
        degraded = load_image(self.degraded)
        return degraded, fit(clean, degraded, self)


def fit(clean: Tensor, degraded: Tensor, pair: Pair) -> Tensor:
    """`clean` cut to the size of `degraded` by the pair's border crop (SOTS indoor). Raises ImageError when the sizes do not fit."""
    border = pair.crop
    if border and (clean.shape[1] - degraded.shape[1], clean.shape[2] - degraded.shape[2]) == (2 * border, 2 * border):
        return clean[:, border:-border, border:-border].contiguous()
    if clean.shape != degraded.shape:
        sizes = [f"{image.shape[2]}x{image.shape[1]}" for image in (degraded, clean)]
        rule = f", also not after the border crop of {border} pixels" if border else ""
        raise ImageError(f"{pair.degraded} is {sizes[0]}, but its clean image {pair.clean} is {sizes[1]}: not a pair{rule}")
    return clean


@dataclass(frozen=True)
class Found:
    """A split as it was found: its pairs, the files that have no partner with the reason, and the tasks whose folder is missing."""

    entry: Entry
    layout: Layout
    folder: Path
    pairs: tuple[Pair, ...]
    lonely: tuple[tuple[Path, str], ...]
    missing_tasks: tuple[str, ...] = ()


def _images(folder: Path, pattern: str) -> list[Path]:
    names = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in names if fnmatch.fnmatch(path.name, pattern) and not path.is_dir())


def _files(base: Path, place: str, pattern: str, sequences: bool) -> list[tuple[str, Path]]:
    """(token, file) of every image at `place` under `base`; the token is the name that `*` stood for, "" unless `sequences`."""
    if "*" not in place:
        folder = base / place
        return [("", path) for path in _images(folder, pattern)] if folder.is_dir() else []
    star = Path(place).parts.index(next(part for part in Path(place).parts if "*" in part))
    found = []
    for folder in sorted(path for path in base.glob(place) if path.is_dir()):
        token = folder.relative_to(base).parts[star] if sequences else ""
        found += [(token, path) for path in _images(folder, pattern)]
    return found


def _read(entry: Entry, layout: Layout, base: Path, tasks: tuple[str, ...]) -> Found | None:
    """The split by one layout, or None when it is not there in that layout."""
    sequences = bool(layout.degraded and "*" in layout.degraded and any("*" in place for place in layout.clean))
    clean = [item for place in layout.clean for item in _files(base, place, layout.clean_files, sequences)]
    if not clean or not all(any(base.glob(place)) for place in layout.clean if place != "."):
        return None
    if layout.degraded is None:
        return Found(entry, layout, base, tuple(Pair(path.stem, None, path, entry.task) for _, path in clean), ())
    pairs, lonely, missing = [], [], []
    for task in tasks or (entry.task,):
        degraded = _files(base, layout.degraded.format(task=task), layout.degraded_files, sequences)
        if not degraded:
            missing.append(task)
            continue
        matched, wrong = match(layout.pairing, degraded, clean)
        lonely += [(path, f"task {task}: {reason}") for path, reason in wrong] if tasks else wrong
        for token, low, high in matched:
            prefix = [task] if tasks else []
            pairs.append(Pair("/".join([*prefix, *filter(None, [token]), low.stem]), low, high, task, entry.clean_crop))
    unique = tuple(dict.fromkeys(lonely))
    return Found(entry, layout, base, tuple(pairs), unique, tuple(missing)) if pairs or unique else None


def _bases(entry: Entry, root: Path, folder: Path | None) -> Iterator[tuple[str, Path]]:
    """(catalogue name of the folder, folder) of every place where the set may lie, most expected first."""
    names = (entry.folder, *entry.folders)
    if folder is not None:
        full = folder.resolve().parts
        named = [name for name in names if full[-len(Path(name).parts) :] == Path(name).parts]
        yield (named[0] if named else entry.folder), folder
    for name in names:
        place = (root if folder is None else folder) / name
        if place.is_dir():
            yield name, place


def locate(
    entry: Entry, split: str, *, root: str | Path | None = None, folder: str | Path | None = None, tasks: tuple[str, ...] | None = None
) -> Found | None:
    """The split of a set under `root` (default `benchmark_root()`), or in `folder` itself; None when it is not there in any layout."""
    where = Path(folder) if folder is not None else None
    tied = {layout.only for layout in entry.layouts if layout.only}
    for name, base in _bases(entry, Path(root or benchmark_root()), where):
        for layout in entry.layouts:
            fits = layout.only == name if layout.only else name not in tied
            if layout.split == split and fits and (found := _read(entry, layout, base, entry.tasks if tasks is None else tasks)):
                return found
    return None


def expected(entry: Entry, split: str) -> str:
    """The layouts of one split in words, for messages."""
    shapes = dict.fromkeys(str(layout) for layout in entry.layouts if layout.split == split and not layout.only)
    names = ", ".join(f"{name}/" for name in dict.fromkeys((entry.folder, *entry.folders)))
    return f"one of the folders {names} holding " + " or ".join(shapes)


def read_pairs(name: str, root: str | Path | None = None, split: str = "test", *, task: str | None = None) -> list[Pair]:
    """The pairs of one split of a set of the catalogue, in file order; `degraded` is None for clean-only sets.

    `root`: the folder that holds the sets (default `benchmark_root()`). `task`: one task of CDD-11, all eleven without it.
    Raises DataSetError when the set is not there (with the steps to get it), has no such split or task, or a file has no partner.
    """
    entry = find_entry(name)
    if split not in entry.splits:
        raise DataSetError(f"{entry.name} has no split {split!r}; it has {', '.join(entry.splits)}")
    if task is not None and task not in entry.tasks:
        raise DataSetError(f"{entry.name} has no task {task!r}; it has {', '.join(entry.tasks) or 'one task only'}")
    found = locate(entry, split, root=root, tasks=(task,) if task else None)
    if found is None or not found.pairs:
        base = Path(root or benchmark_root())
        what = f"{expected(entry, split)}\n{entry.advice(root)}"
        raise DataSetError(f"{entry.name} ({split}) is not under {base} (COURSE_DATA_DIR); expected {what}")
    if found.lonely:
        path, reason = found.lonely[0]
        more = f" (and {len(found.lonely) - 1} more; `course data check {entry.name}` lists them)" if len(found.lonely) > 1 else ""
        raise DataSetError(f"{path}: {reason}{more}")
    return list(found.pairs)
