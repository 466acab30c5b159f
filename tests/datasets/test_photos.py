"""The embedded photographs: complete, credited, small, lossless, split once."""

import csv
import json

import pytest
import torch
from PIL import Image

from course_lib.datasets.photos import SPLITS, load_folder, load_photos, photo_files
from course_lib.images import ImageError, save_image
from course_lib.paths import data_root

FOLDER = data_root() / "photos"


def test_the_split_covers_every_file_once():
    listed = [path.name for split in SPLITS for path in photo_files(split)]
    assert len(listed) == len(set(listed)) == 25
    assert set(listed) == {path.name for path in FOLDER.glob("*.png")}
    assert set(json.loads((FOLDER / "split.json").read_text())) == set(SPLITS)


def test_every_file_is_credited():
    with open(FOLDER / "CREDITS.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == {path.name for path in FOLDER.glob("*.png")}
    for row in rows.values():
        assert row["author"] and row["licence"], row


def test_lossless_rgb_under_twelve_megabytes():
    files = list(FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 12e6
    for path in FOLDER.glob("*.png"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "RGB"), path.name
            assert min(image.size) >= 256


def test_loading():
    images = load_photos("validation")
    assert sorted(images) == sorted(path.stem for path in photo_files("validation"))
    assert all(image.shape[0] == 3 and image.dtype == torch.float32 and image.max() <= 1 for image in images.values())
    with pytest.raises(ValueError, match="train, validation, test"):
        photo_files("dev")


def test_load_folder_leaves_out_and_names_the_bad_file(tmp_path):
    for name in "ab":
        save_image(torch.rand(3, 4, 4), tmp_path / f"{name}.png")
    assert list(load_folder(tmp_path)) == ["a", "b"]
    assert list(load_folder(tmp_path, leave_out={"a"})) == ["b"]
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ImageError, match="c.png"):
        load_folder(tmp_path)
