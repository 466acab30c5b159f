"""Strips, grids and error maps: what they say is computed, what they mark is where it should be."""

import io
import os
import subprocess
import sys

import pytest
import torch

from course_lib.figures import bars, difference, grid, strip
from course_lib.figures.compare import detail_box
from course_lib.metrics import psnr


def pictures(height=60, width=80):
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((3, height, width), 0.5)
    clean[:, 30:46, 50:66] = torch.rand(3, 16, 16, generator=generator)
    noise = 0.1 * torch.randn(3, height, width, generator=generator)
    return {"degraded": clean + noise, "restored": (clean + noise / 4)[None], "clean": clean}


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_strip_prints_the_psnr_of_the_library():
    images = pictures()
    panels = strip(images, title="Noise").axes
    expected = float(psnr(images["degraded"][None], images["clean"][None]))
    assert panels[0].get_title() == f"degraded\n{expected:.2f} dB"
    assert panels[2].get_title() == "clean"
    assert strip({"copy": images["clean"], "clean": images["clean"]}).axes[0].get_title() == "copy\nequal to clean"


def test_auto_zoom_finds_the_detail_and_marks_the_same_box_everywhere():
    images = pictures()
    top, left, height, width = detail_box(images["clean"])
    assert abs(top + height / 2 - 38) <= 5 and abs(left + width / 2 - 58) <= 5
    for axes in strip(images).axes[:3]:
        (box,) = axes.patches
        assert (box.get_x() + 0.5, box.get_y() + 0.5, box.get_width(), box.get_height()) == (left, top, width, height)
        (inset,) = axes.child_axes
        assert inset.images[0].get_array().shape[:2] == (height, width)


def test_inset_shows_the_pixels_of_the_box():
    images = pictures()
    inset = strip(images, zoom=(30, 50, 16, 12)).axes[2].child_axes[0]
    assert torch.equal(torch.tensor(inset.images[0].get_array().data).permute(2, 0, 1), images["clean"][:, 30:46, 50:62])


@pytest.mark.parametrize("box", [(0, 0, 10, 10), (0, 70, 10, 10), (50, 0, 10, 10), (50, 70, 10, 10), (0, 0, 60, 10)])
def test_inset_never_covers_the_middle_of_the_box(box):
    figure = strip(pictures(), zoom=box)
    png(figure)  # positions are known after drawing
    axes = figure.axes[0]
    top, left, height, width = box
    middle = axes.transData.transform((left + width / 2, top + height / 2))
    covered = axes.child_axes[0].get_window_extent()
    assert not covered.contains(*middle)


def test_no_clean_image_means_no_psnr_and_must_be_said():
    images = {"photo": torch.rand(3, 40, 40), "restored": torch.rand(3, 40, 40)}
    with pytest.raises(ValueError, match="clean_key=None"):
        strip(images)
    assert "dB" not in "".join(a.get_title() for a in strip(images, clean_key=None).axes)


def test_tiny_images_work():
    one = torch.rand(3, 1, 1)
    figure = strip({"degraded": one, "clean": one * 0.5})
    assert not figure.axes[0].child_axes and png(figure)


@pytest.mark.parametrize(
    "images, message",
    [
        ({}, "no images"),
        ({"clean": torch.rand(1, 8, 8)}, r"'clean' has shape \(1, 8, 8\)"),
        ({"clean": torch.rand(2, 3, 8, 8)}, "one image of a batch"),
        ({"a": torch.rand(3, 8, 9), "clean": torch.rand(3, 8, 8)}, "one size"),
    ],
)
def test_bad_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        strip(images)


@pytest.mark.parametrize("zoom", [(50, 0, 20, 20), (-1, 0, 5, 5), (0, 0, 0, 5), (1, 2, 3), "middle"])
def test_bad_zoom(zoom):
    with pytest.raises(ValueError, match="top, left, height, width"):
        strip(pictures(), zoom=zoom)


def test_grid_rows_may_differ_in_size_and_length():
    rows = [pictures(), {k: v for k, v in pictures(70, 70).items() if k != "restored"}]
    figure = grid(rows, titles=["cat", "dog"], title="Two")
    assert len(figure.axes) == 6 and figure.axes[3].get_ylabel() == "dog"
    assert not figure.axes[5].axison
    with pytest.raises(ValueError, match="2 rows but 1"):
        grid(rows, titles=["cat"])


def test_difference_maps_share_one_scale():
    images = pictures()
    figure = difference(images, zoom="auto", title="Error")
    maps = [a.images[0] for a in figure.axes[:2]]
    assert maps[0].get_clim() == maps[1].get_clim()
    expected = float((images["degraded"] - images["clean"]).abs().mean())
    assert f"{expected:.4f}" in figure.axes[0].get_title()
    assert difference(images, limit=0.3).axes[0].images[0].get_clim() == (0.0, 0.3)
    assert png(difference({"same": images["clean"], "clean": images["clean"]}))
    with pytest.raises(ValueError, match="only the clean image"):
        difference({"clean": images["clean"]})


def test_bars_show_the_gain():
    figure = bars({"degraded": 20.17, "restored": 28.0}, baseline="degraded")
    assert "28.00 (+7.83)" in [t.get_text() for t in figure.axes[0].texts]
    with pytest.raises(ValueError, match="baseline"):
        bars({"a": 1.0}, baseline="b")


def test_no_global_settings_no_pyplot_and_no_text_under_8_points():
    """In a fresh process without a display: rcParams stay, pyplot is not loaded, and a dark theme does not get in."""
    code = """
import sys, torch, matplotlib, pickle
matplotlib.rcParams["text.color"] = "red"; matplotlib.rcParams["font.size"] = 3; matplotlib.rcParams["xtick.color"] = "red"
before = matplotlib.rcParams.copy()
from course_lib.figures import strip, cost_curves
x = torch.rand(3, 40, 40)
figures = [strip({"degraded": x, "clean": x / 2}), cost_curves([dict(series="a", pixels=p, seconds=p) for p in (10, 100)])]
assert all(f._repr_png_().startswith(b"\\x89PNG") for f in figures)
assert matplotlib.rcParams.copy() == before, "global settings changed"
assert "matplotlib.pyplot" not in sys.modules
from matplotlib.text import Text
for f in figures:
    for t in f.findobj(Text):
        if t.get_text():
            assert t.get_fontsize() >= 8 and t.get_color() != "red", (t.get_text(), t.get_fontsize(), t.get_color())
pickle.loads(pickle.dumps(figures[0])).savefig("/dev/null", format="png")
"""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
