"""Every layout of every set is found and paired right, on trees of empty files made by the naming of the real sets."""

import pytest
import torch

from course_lib.datasets.catalogue import DataSetError, catalogue
from course_lib.datasets.catalogue_pairing import by_number, haze_id, match, same_name
from course_lib.datasets.folders import Pair, locate, read_pairs
from course_lib.images import ImageError, save_image

LAYOUTS = [
    pytest.param(entry, layout, id=f"{entry.name}-{layout.split}-{number}")
    for entry in catalogue().values()
    for number, layout in enumerate(entry.layouts)
]

# rule -> [(degraded name, its clean name)], as the real sets write them
NAMES = {
    "same_name": [("22.png", "22.png"), ("000047.png", "000047.png"), ("7.jpg", "7.png")],
    "by_number": [("rain-1.png", "norain-1.png"), ("rain-10x2.png", "norain-010.png"), ("rain-7.png", "norain-7.png")],
    "by_haze_id": [("0001_0.8_0.2.jpg", "0001.png"), ("0001_0.9_0.08.jpg", "0001.png"), ("1400_1.png", "1400.png")],
}


def put(*path):
    path[0].joinpath(*path[1:-1]).mkdir(parents=True, exist_ok=True)
    path[0].joinpath(*path).touch()


def build(base, entry, layout):
    """Make the tree; returns {pair name: (degraded, clean)} as file paths relative to `base`, worked out here by hand."""
    if layout.degraded is None:
        names = [f"img_00{n}_SRF_4{layout.clean_files.removeprefix('*')}" if "HR" in layout.clean_files else f"{n}.png" for n in (1, 2)]
        files = {place.replace("*", "abc"): place.replace("/", "-").strip(".*") for place in layout.clean}
        for place, prefix in files.items():
            for name in names:
                put(base, place, prefix + name)
        return {(prefix + name)[:-4]: None for prefix in files.values() for name in names}
    both = "*" in layout.degraded and "*" in layout.clean[0]
    wanted = {}
    for task in entry.tasks or (None,):
        for sequence in ("GOPR0372", "GOPR0384") if both else ("part1",):
            for low, high in NAMES[layout.pairing]:
                degraded = layout.degraded.format(task=task).replace("*", sequence)
                clean = layout.clean[0].replace("*", sequence)
                put(base, degraded, low)
                put(base, clean, high)
                name = "/".join(filter(None, [task, sequence if both else None, low.rsplit(".", 1)[0]]))
                wanted[name] = (base / degraded / low, base / clean / high)
    return wanted


@pytest.mark.parametrize(("entry", "layout"), LAYOUTS)
def test_a_layout_is_found_and_paired(tmp_path, entry, layout):
    wanted = build(tmp_path / (layout.only or entry.folder), entry, layout)
    pairs = read_pairs(entry.name, tmp_path, layout.split)
    if layout.degraded is None:
        assert {pair.name for pair in pairs} == set(wanted) and all(pair.degraded is None for pair in pairs)
    else:
        assert {pair.name: (pair.degraded, pair.clean) for pair in pairs} == wanted
        assert {pair.task for pair in pairs} == set(entry.tasks or [entry.task])
    in_itself = locate(entry, layout.split, folder=tmp_path / (layout.only or entry.folder))
    assert in_itself is not None and in_itself.pairs == tuple(pairs)


def test_every_other_folder_name_is_looked_into(tmp_path):
    for entry in catalogue().values():
        tied = {layout.only for layout in entry.layouts}
        for number, folder in enumerate(name for name in entry.folders if name not in tied):
            root = tmp_path / f"{entry.name}-{number}"
            layout = next(item for item in entry.layouts if not item.only)
            build(root / folder, entry, layout)
            assert read_pairs(entry.name, root, layout.split), (entry.name, folder)


def test_rules():
    from pathlib import Path

    assert same_name(Path("a/22.png")) == same_name(Path("b/22.jpg"))
    assert {by_number(Path(name)) for name in ("rain-7.png", "norain-7.png", "norain-7x2.png", "007.png", "blur_07.png")} == {7}
    assert haze_id(Path("0001_0.8_0.2.jpg")) == haze_id(Path("0001.png")) == "0001" and haze_id(Path("1400_10.png")) == "1400"
    a, b, twice = Path("in/rain-3.png"), Path("gt/norain-3.png"), Path("in/rain-03.png")
    pairs, wrong = match("by_number", [("", a), ("", twice)], [("", b), ("", Path("gt/norain-4.png"))])
    assert pairs == [("", a, b)]
    assert [
        (path.name, word in reason) for (path, reason), word in zip(wrong, ("rain-3.png already", "degraded partner"), strict=True)
    ] == [
        ("rain-03.png", True),
        ("norain-4.png", True),
    ]
    assert match("same_name", [("seq1", Path("1.png"))], [("seq2", Path("x/1.png"))])[0] == []


def test_cdd11_gives_one_task_or_all(tmp_path):
    entry = catalogue()["CDD-11"]
    build(tmp_path / "CDD-11", entry, entry.layouts[0])
    assert len(read_pairs("CDD-11", tmp_path)) == 3 * 11
    one = read_pairs("CDD-11", tmp_path, task="low_haze_rain")
    assert (
        len(one) == 3
        and {pair.degraded.parent.name for pair in one} == {"low_haze_rain"}
        and {p.clean.parent.name for p in one} == {"clear"}
    )
    with pytest.raises(DataSetError, match="no task 'fog'"):
        read_pairs("CDD-11", tmp_path, task="fog")


@pytest.mark.parametrize("border", [10, 0])
def test_the_indoor_border_comes_off_when_it_is_there(tmp_path, border):
    clean = torch.rand(3, 48 + 2 * border, 62 + 2 * border)
    inner = clean[:, border : 48 + border, border : 62 + border]
    for folder, name, image in (("gt", "1400.png", clean), ("hazy", "1400_1.png", inner), ("hazy", "1400_2.png", inner * 0.5)):
        path = tmp_path / "SOTS" / "indoor" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(image, path)
    degraded, cut = read_pairs("SOTS-indoor", tmp_path)[0].load()
    assert degraded.shape == cut.shape == (3, 48, 62) and torch.equal(degraded, cut)


def test_load_names_the_pair_that_does_not_fit(tmp_path):
    low, high = save_image(torch.rand(3, 8, 9), tmp_path / "low.png"), save_image(torch.rand(3, 9, 8), tmp_path / "high.png")
    with pytest.raises(ImageError, match=r"low.png is 9x8, but its clean image .*high.png is 8x9"):
        Pair("a", low, high, "rain").load()
    degraded, clean = Pair("a", None, high, "noise").load()
    assert degraded is None and clean.shape == (3, 9, 8)


def test_errors_name_the_folder_the_layouts_and_the_steps(tmp_path):
    with pytest.raises(DataSetError) as caught:
        read_pairs("Rain100L", tmp_path)
    text = str(caught.value)
    assert str(tmp_path) in text and "input/ + target/" in text and "1. Test pairs" in text and "COURSE_DATA_DIR" in text
    with pytest.raises(DataSetError, match="RESIDE has no split 'test'; it has train, train-its"):
        read_pairs("RESIDE", tmp_path)
    for name in ("input/1.png", "input/2.png", "target/1.png"):
        put(tmp_path / "Rain100L", *name.split("/"))
    with pytest.raises(DataSetError, match=r"input.2\.png: its clean partner is missing.*2"):
        read_pairs("Rain100L", tmp_path)


def test_hidden_files_and_other_kinds_are_no_images(tmp_path):
    for name in ("1.png", ".2.png", "Thumbs.db", "readme.txt"):
        put(tmp_path / "Kodak24", name)
    assert [pair.name for pair in read_pairs("Kodak24", tmp_path)] == ["1"]
