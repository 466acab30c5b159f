"""The sets that `course eval` measures on: what each is, how many images the whole set has, and the protocols its papers use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.degradations.composite import CDD11_TASKS as COMPOSED
from course_lib.evaluation.protocol import PROTOCOLS
from course_lib.images import ImageError, list_images
from course_lib.paths import benchmark_root

CDD11_TASKS = tuple(COMPOSED)


@dataclass(frozen=True)
class EvaluationSet:
    """`task` noise: clean images, noise is added; five tasks: the course's own protocol; any other: pairs.

    `images`: of the whole set (None: of any number).
    """

    name: str
    task: str
    images: int | None
    protocols: tuple[str, ...] = ("promptir",)


_ALL = (
    EvaluationSet("CBSD68", "noise", 68, PROTOCOLS),
    EvaluationSet("Kodak24", "noise", 24, PROTOCOLS),
    EvaluationSet("Urban100", "noise", 100, PROTOCOLS),
    EvaluationSet("McMaster", "noise", 18, PROTOCOLS),
    EvaluationSet("photos", "noise", None, PROTOCOLS),
    EvaluationSet("Rain100L", "rain", 100),
    EvaluationSet("SOTS-outdoor", "haze", 500),
    EvaluationSet("SOTS-indoor", "haze", 500),
    EvaluationSet("GoPro", "blur", 1111, ("promptir", "restormer")),
    EvaluationSet("LOL-v1", "low_light", 15),
    EvaluationSet("five-tasks", "five tasks", None, ("course",)),
    EvaluationSet("CDD-11", "composite", 200 * len(CDD11_TASKS), ("onerestore",)),
)
SETS = {entry.name: entry for entry in _ALL}


def find_set(data: str) -> EvaluationSet:
    """A set by its name or the catalogue's other names for it, or a folder of clean images as a noise set.

    Raises ImageError naming the known sets.
    """
    from course_lib.datasets.catalogue import DataSetError, find_entry

    if data in SETS:
        return SETS[data]
    if Path(data).is_dir():
        return EvaluationSet(data, "noise", None, PROTOCOLS)
    try:
        name = find_entry(data).name
    except DataSetError:
        raise ImageError(f"{data}: no such folder of images, and no data set of that name; there are {', '.join(SETS)}") from None
    if name not in SETS:
        raise ImageError(f"{name} is not a test set of the papers that `course eval` follows; there are {', '.join(SETS)}")
    return SETS[name]


def clean_files(data: str) -> list[Path]:
    """The clean images of a noise set (CBSD68 under COURSE_DATA_DIR, ...), `photos` (the test split) or a folder. Raises ImageError."""
    from course_lib.datasets.photos import photo_files

    if data == "photos":
        return photo_files("test")
    if data == "CBSD68":
        folder = benchmark_root() / "CBSD68"
        for candidate in (folder / "original_png", folder):
            if candidate.is_dir():
                return list_images(candidate)
        raise ImageError(f"CBSD68 is not at {folder}; set COURSE_DATA_DIR to the folder that holds CBSD68/original_png (68 PNG files)")
    if data in SETS:
        return [pair.clean for pairs in pairs_by_task(SETS[data]).values() for pair in pairs]
    return list_images(data)


def pairs_by_task(entry: EvaluationSet) -> dict[str, Sequence]:
    """Task -> its pairs: one task, or those of CDD-11 that are there. Raises DataSetError naming the folder and how to get the set."""
    from course_lib.datasets.folders import read_pairs

    tasks = {}
    for pair in read_pairs(entry.name):
        tasks.setdefault(pair.task if entry.name == "CDD-11" else entry.task, []).append(pair)
    return tasks
