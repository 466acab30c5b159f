"""What a lesson records is there at once, replaces itself, and says whose piece made it."""

import io
import json

import matplotlib.figure
import pandas as pd
import pytest
import torch
from PIL import Image

from course_lib.workbook import records
from course_lib.workbook.records import begin, record


@pytest.fixture
def folder(tmp_path):
    yield begin("02_restormer", tmp_path / "out", profile="smoke", seed=0, device="cpu")
    records._state.update(folder=None, content=None)


def content(folder):
    return json.loads((folder / "records.json").read_text(encoding="utf-8"))


def test_every_kind_is_kept(folder):
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    shown = record("a_figure", figure, "caption", piece="your piece")
    record("a_number", torch.tensor(2.5))
    record("a_text", "words")
    record("a_table", pd.DataFrame({"x": [1, 2]}))
    items = {item["name"]: item for item in content(folder)["records"]}
    assert items["a_figure"]["piece"] == "your piece" and items["a_figure"]["caption"] == "caption"
    assert (folder / "a_figure.png").read_bytes() == shown._repr_png_()
    assert shown._repr_png_().startswith(b"\x89PNG")
    assert items["a_number"]["value"] == 2.5
    assert items["a_text"]["value"] == "words"
    assert (folder / "a_table.csv").read_text() == "x\n1\n2\n" and items["a_table"]["value"] == [{"x": 1}, {"x": 2}]


def test_a_photograph_is_shown_as_jpeg_and_kept_as_png(folder, photos):
    figure = matplotlib.figure.Figure(figsize=(3, 3))
    image = photos["chelsea"][:, :200, :200]
    noisy = (image + 0.1 * torch.randn(image.shape)).clamp(0, 1)
    figure.subplots().imshow(noisy.permute(1, 2, 0))
    shown = record("photo", figure)
    assert shown._repr_png_() is None and shown._repr_jpeg_().startswith(b"\xff\xd8")
    assert 2 * len(shown._repr_jpeg_()) < (folder / "photo.png").stat().st_size


def test_a_figure_is_kept_pixel_by_pixel_in_fewer_bytes(folder):
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    figure.subplots().imshow(torch.rand(20, 30, 3))
    plain = io.BytesIO()
    figure.savefig(plain, format="png", dpi=100)
    kept = record("noise", figure).png
    assert len(kept) < len(plain.getvalue()) and kept == (folder / "noise.png").read_bytes()
    before, after = (Image.open(io.BytesIO(data)) for data in (plain.getvalue(), kept))
    assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()


def test_a_second_run_of_the_cell_replaces_in_place(folder):
    record("first", 1)
    record("second", 2)
    record("first", 3)
    assert [(item["name"], item["value"]) for item in content(folder)["records"]] == [("first", 3), ("second", 2)]


def test_errors_name_what_to_do(folder, tmp_path):
    with pytest.raises(ValueError, match="plain name"):
        record("../escape", 1)
    with pytest.raises(TypeError, match="cannot keep a list"):
        record("a_list", [1])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="is a file"):
        begin("02_restormer", tmp_path / "file", profile="smoke", seed=0, device="cpu")


def test_record_before_begin(monkeypatch):
    monkeypatch.setitem(records._state, "content", None)
    with pytest.raises(RuntimeError, match="begin"):
        record("x", 1)
