"""The embedded photographs and their split, and any folder of images, as lists of tensors in memory."""

import json
from pathlib import Path

from torch import Tensor

from course_lib.images import list_images, load_image
from course_lib.paths import data_root

SPLITS = ("train", "validation", "test")


def photo_files(split: str) -> list[Path]:
    """Files of one split (`train`, `validation`, `test`) of `data/photos`, as `data/photos/split.json` records it. Raises ValueError."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    folder = data_root() / "photos"
    names = json.loads((folder / "split.json").read_text(encoding="utf-8"))[split]
    return [folder / name for name in names]


def load_photos(split: str) -> dict[str, Tensor]:
    """Name -> (3, H, W) image in [0, 1] of one split of the embedded photographs."""
    return {path.stem: load_image(path) for path in photo_files(split)}


def load_folder(folder: str | Path, *, leave_out: set[str] = frozenset()) -> dict[str, Tensor]:
    """Name -> (3, H, W) of every image in `folder` but those whose stem is in `leave_out`. Raises ImageError naming the bad file."""
    return {path.stem: load_image(path) for path in list_images(folder) if path.stem not in leave_out}
