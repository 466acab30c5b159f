"""`course data check`: goes through a folder that the user has, file by file, names all that is wrong and stops at nothing."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from course_lib.datasets.catalogue import Entry, find_entry
from course_lib.datasets.catalogue_pairing import by_number
from course_lib.datasets.check_files import SEVERITIES, Finding, examine_archive, examine_image, examine_tree, is_archive, leads_out
from course_lib.datasets.folders import Found, Pair, expected, fit, locate
from course_lib.images import ImageError
from course_lib.metrics import psnr
from course_lib.paths import benchmark_root

PSNR_TOLERANCE = 0.05  # dB, between a complete set's mean input PSNR and the figure that is known for it


@dataclass
class Split:
    """What was found of one split. `count` pairs (or clean images) of `of`; mean input PSNR in dB by task, beside the known figures."""

    split: str
    folder: str
    layout: str
    count: int
    of: int
    paired: bool
    input_psnr: dict[str, float] = field(default_factory=dict)
    known_psnr: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        what = "pairs" if self.paired else "images"
        text = f"{self.split}: {self.count} of {self.of} {what}" + ("" if self.count >= self.of else " (partial)")
        sizes = ", ".join(f"{count} {size}" for size, count in list(self.sizes.items())[:3]) + (", ..." if len(self.sizes) > 3 else "")
        lines = [f"{text}, {self.layout} in {self.folder}; {sizes}"]
        for task, value in self.input_psnr.items():
            known = f" (known: {self.known_psnr[task]:.2f} dB for the complete split)" if task in self.known_psnr else ""
            lines.append(f"  mean input PSNR {task}: {value:.2f} dB{known}")
        return "\n".join(lines)


@dataclass
class Report:
    """The result of `check_set`: the splits found and every finding, errors first. `ok` is false when there is an error."""

    name: str
    folder: str
    splits: list[Split]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict:
        """Everything, for JSON."""
        rows = [vars(split) for split in self.splits]
        return {"name": self.name, "folder": self.folder, "ok": self.ok, "splits": rows, "findings": [vars(item) for item in self.findings]}

    def __str__(self) -> str:
        counts = Counter(finding.severity for finding in self.findings)
        verdict = ", ".join(f"{counts[severity]} {severity}{'s' if counts[severity] != 1 else ''}" for severity in SEVERITIES)
        return "\n".join([f"{self.name} in {self.folder}", *map(str, self.splits), *map(str, self.findings), verdict])


@dataclass
class _Group:
    """One clean image with all degraded ones that belong to it: what a thread looks through at once, so that none is read twice."""

    clean: Path
    pairs: list[Pair]


@dataclass
class _Result:
    findings: list[Finding] = field(default_factory=list)
    digests: list[tuple[str, Path]] = field(default_factory=list)
    psnrs: list[tuple[str, float]] = field(default_factory=list)
    size: str | None = None


def _check_pair(pair: Pair, clean, base: Path, result: _Result) -> None:
    if leads_out(pair.degraded, base):
        return  # the link itself is named once, by examine_tree
    degraded, findings = examine_image(pair.degraded)
    result.findings += findings
    if degraded is None or clean is None:
        return
    try:
        reference = fit(clean.pixels, degraded.pixels, pair)
    except ImageError as error:
        wrong = str(error).removeprefix(f"{pair.degraded} ")
        result.findings.append(Finding("error", str(pair.degraded), wrong, "fetch both files of the pair from one source"))
        return
    value = float(psnr(degraded.pixels[None], reference[None]))
    if value == float("inf"):
        what = f"pixel for pixel the same as its clean image {pair.clean}"
        result.findings.append(Finding("warning", str(pair.degraded), what, "a clean image among the degraded ones; fetch it again"))
    else:
        result.psnrs.append((pair.task, value))
    result.digests.append((degraded.digest, pair.degraded))


def _check_group(group: _Group, base: Path) -> _Result:
    result, clean = _Result(), None
    if not leads_out(group.clean, base):
        clean, result.findings = examine_image(group.clean)
    if clean is not None:
        result.digests.append((clean.digest, group.clean))
        result.size = f"{clean.pixels.shape[2]}x{clean.pixels.shape[1]}"
    for pair in group.pairs:
        if pair.degraded is not None:
            _check_pair(pair, clean, base, result)
    return result


def _run(groups: list[_Group], base: Path, workers: int) -> Iterator[tuple[_Group, _Result]]:
    """The groups as they are done, on threads (decoding leaves Python's lock); few wait at a time, so that Ctrl-C stops at once."""
    queue = iter(groups)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = {pool.submit(_check_group, group, base): group for group in islice(queue, 4 * workers)}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
                waiting.update({pool.submit(_check_group, group, base): group for group in islice(queue, 1)})
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _groups(found: Found) -> list[_Group]:
    by_clean: dict[Path, list[Pair]] = defaultdict(list)
    for pair in found.pairs:
        by_clean[pair.clean].append(pair)
    groups = [_Group(clean, pairs) for clean, pairs in by_clean.items()]
    return groups + [_Group(path, []) for path, _ in found.lonely if path not in by_clean]


def _duplicates(digests: Iterable[tuple[str, Path]], known: int) -> list[Finding]:
    """Files of one folder with the same pixels; up to `known` such groups are what the published set holds."""
    same: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    for digest, path in digests:
        same[digest, path.parent].append(path)
    groups = sorted(sorted(paths) for paths in same.values() if len(paths) > 1)
    expected_ones = bool(known) and len(groups) <= known and all(len(paths) == 2 for paths in groups)
    severity = "note" if expected_ones else "warning"
    reason = f"the published set has {known} such doubles" if expected_ones else "keep one, or fetch the set again"
    return [Finding(severity, str(paths[0]), f"the same picture as {', '.join(p.name for p in paths[1:])}", reason) for paths in groups]


def _absent_numbers(entry: Entry, found: Found) -> str:
    """Which numbers are missing of a set whose files are numbered without a gap, when the folder's files are numbered so and few are."""
    first, last = entry.numbers.get(found.layout.split, (0, -1))
    here = {by_number(pair.clean) for pair in found.pairs}
    missing = sorted(set(range(first, last + 1)) - here)
    if not here <= set(range(first, last + 1)) or not 0 < len(missing) <= 20:
        return ""
    return f"; missing: {', '.join(map(str, missing))}"


def _judge(entry: Entry, found: Found, split: Split, psnrs: dict[str, list[float]]) -> list[Finding]:
    """Counts and means of a split against the catalogue."""
    findings = [Finding("error", str(path), reason, "fetch the missing file, or remove this one") for path, reason in found.lonely]
    for task in found.missing_tasks:
        findings.append(Finding("note", str(found.folder), f"{split.split}: no folder for the task {task}", ""))
    if split.count < split.of:
        what = f"{split.split}: a partial set, {split.count} of {split.of} {'pairs' if split.paired else 'images'}"
        findings.append(Finding("note", split.folder, what + _absent_numbers(entry, found), ""))
    elif split.count > split.of:
        advice = "look for files that do not belong, or for another version of the set"
        findings.append(Finding("warning", split.folder, f"{split.split}: {split.count} where the set has {split.of}", advice))
    for task, values in psnrs.items():
        figure = entry.input_psnr.get(task if entry.tasks else split.split)
        split.input_psnr[task] = sum(values) / len(values)
        if figure is not None:
            split.known_psnr[task] = figure
            if split.count == split.of and abs(split.input_psnr[task] - figure) > PSNR_TOLERANCE:
                what = f"{split.split}: mean input PSNR {split.input_psnr[task]:.2f} dB, but {figure:.2f} dB is known"
                findings.append(Finding("warning", split.folder, what, "another version of the set, or wrongly paired; compare its source"))
    return findings


def _check_split(entry: Entry, found: Found, base: Path, progress: bool, workers: int) -> tuple[Split, list[Finding]]:
    from tqdm import tqdm

    name = found.layout.split
    paired = found.layout.degraded is not None
    split = Split(name, str(found.folder), str(found.layout), len(found.pairs), entry.splits[name], paired)
    findings, digests, psnrs, sizes = [], [], defaultdict(list), Counter()
    groups = _groups(found)
    with tqdm(total=len(groups), desc=f"{entry.name} {name}", unit="image", disable=not progress, leave=False) as bar:
        for _, result in _run(groups, base, workers):
            bar.update()
            findings += result.findings
            digests += result.digests
            sizes.update([result.size] if result.size else [])
            for task, value in result.psnrs:
                psnrs[task].append(value)
    split.sizes = dict(sizes.most_common())
    ordered = {task: psnrs[task] for task in (entry.tasks or (entry.task,)) if psnrs[task]}
    return split, findings + _duplicates(digests, entry.doubles) + _judge(entry, found, split, ordered)


def _absent(entry: Entry, place: Path, root: Path | None) -> Finding:
    known = "; or ".join(expected(entry, split) for split in entry.splits)
    return Finding("error", str(place), f"no images of {entry.name} found; expected {known}", "\n" + entry.advice(root))


def check_set(name: str, folder: str | Path | None = None, *, progress: bool = True, workers: int | None = None) -> Report:
    """Validate a set of the catalogue in `folder`, or where it lies under `benchmark_root()`, and name everything that is wrong.

    Every image is decoded, every pair compared after its crop rule, every archive looked into but never unpacked; nothing is changed.
    A smaller number of images than the split has is a note. Raises DataSetError for a name that is not in the catalogue.
    """
    entry = find_entry(name)
    workers = workers or min(4, os.cpu_count() or 1)
    where = None if folder is None else Path(folder)
    place = where or entry.place()
    if where is not None and where.is_file():
        no_set = Finding("error", str(where), "a file, not the folder of a set", "unpack it and check the folder")
        return Report(entry.name, str(where), [], _sorted(examine_archive(where) if is_archive(where) else [no_set]))
    located, findings = [], []
    for split in entry.splits:
        try:
            located += [found] if (found := locate(entry, split, folder=where)) else []
        except OSError as error:
            findings.append(Finding("error", str(error.filename), f"{split}: cannot be read ({error.strerror})", "chmod u+rx it"))
    bases = list(dict.fromkeys([where] if where and where.is_dir() else [found.folder for found in located]))
    findings += [finding for base in bases for finding in examine_tree(base)]
    splits = []
    for found in located:
        split, more = _check_split(entry, found, where or found.folder, progress, workers)
        splits.append(split)
        findings += more
    if not located:
        findings.append(_absent(entry, place, None if where is None else benchmark_root()))
    shown = ", ".join(str(base) for base in bases) or str(place)
    return Report(entry.name, shown, splits, _sorted(findings))


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(dict.fromkeys(findings), key=lambda item: (SEVERITIES.index(item.severity), item.file))
