"""The CDD-11-like set: all folders, every parameter recorded and replayable, the same on one process or two, resumable, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from course_lib.datasets.cdd11 import Maps, image_seed, make_cdd11, replay
from course_lib.degradations.composite import CDD11_TASKS, composite
from course_lib.images import load_image, save_image


@pytest.fixture
def clean_dir(tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    torch.manual_seed(0)
    for name in ("a", "b", "c"):
        smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8), size=(48, 65), mode="bilinear")
        save_image(smooth, folder / f"{name}.png")
    return folder


def make(clean_dir, out, **options):
    return make_cdd11(clean_dir, out, **{"processes": 1, "progress": False, "say": lambda *_: None, **options})


def pictures(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def test_twelve_folders_with_the_same_names_and_every_picture_replays(clean_dir, tmp_path):
    out = tmp_path / "set"
    result = make(clean_dir, out)
    assert (result["images"], result["made"], result["kept"], result["failed"]) == (3, 3, 0, {})
    for folder in ("clear", *CDD11_TASKS):
        assert sorted(path.name for path in (out / folder).iterdir()) == ["a.png", "b.png", "c.png"]
    assert torch.equal(load_image(out / "clear" / "b.png"), load_image(clean_dir / "b.png"))
    for task in CDD11_TASKS:
        again = replay(out, "b", task)
        assert (again - load_image(out / task / "b.png")).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(again, composite(load_image(clean_dir / "b.png")[None], task, [image_seed(0, "b", task)]))
    lines = (out / "parameters.jsonl").read_text().splitlines()
    assert [json.loads(line)["clean"] for line in lines] == ["a.png", "b.png", "c.png"]


def test_processes_and_other_images_change_no_pixel(clean_dir, tmp_path):
    make(clean_dir, tmp_path / "one")
    make(clean_dir, tmp_path / "two", processes=2)
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two")
    (clean_dir / "a.png").unlink()
    make(clean_dir, tmp_path / "fewer")
    fewer = pictures(tmp_path / "fewer")
    assert len(fewer) == 24 and fewer.items() <= pictures(tmp_path / "one").items()
    make(clean_dir, tmp_path / "seed", seed=1, limit=1)
    assert pictures(tmp_path / "seed")["haze/b.png"] != fewer["haze/b.png"]


def test_what_is_there_is_kept_and_what_is_missing_or_changed_is_made(clean_dir, tmp_path):
    out = tmp_path / "set"
    make(clean_dir, out, limit=2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "rain" / "b.png").unlink()
    save_image(torch.rand(3, 48, 65), clean_dir / "c.png")
    result = make(clean_dir, out)
    assert (result["made"], result["kept"]) == (2, 1)  # b for its lost picture, c for the first time
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path.name == "a.png")
    old = pictures(out)["haze/c.png"]
    save_image(torch.rand(3, 48, 65), clean_dir / "c.png")
    assert make(clean_dir, out)["made"] == 1 and pictures(out)["haze/c.png"] != old


def test_another_seed_or_a_folder_of_somebody_else_is_refused(clean_dir, tmp_path):
    out = tmp_path / "set"
    make(clean_dir, out, limit=1)
    with pytest.raises(ValueError, match="was made with seed 0, not 3"):
        make(clean_dir, out, seed=3)
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="holds something else"):
        make(clean_dir, holiday)
    assert [path.name for path in holiday.iterdir()] == ["diary.txt"]


def test_a_broken_image_is_named_and_the_others_are_made(clean_dir, tmp_path):
    (clean_dir / "b.png").write_bytes((clean_dir / "b.png").read_bytes()[:200])
    said = []
    result = make(clean_dir, tmp_path / "set", say=said.append)
    assert result["made"] == 2 and list(result["failed"]) == ["b.png"] and "truncated" in result["failed"]["b.png"]
    assert any("b.png" in line for line in said)
    assert not (tmp_path / "set" / "parameters.jsonl").exists()  # the whole set is not there
    save_image(torch.rand(3, 48, 65), clean_dir / "b.png")
    assert make(clean_dir, tmp_path / "set") | {"out": ""} == {"images": 3, "made": 1, "kept": 2, "failed": {}, "out": ""}
    assert (tmp_path / "set" / "parameters.jsonl").is_file()


def test_two_images_of_one_stem_are_refused(clean_dir, tmp_path):
    save_image(torch.rand(3, 48, 65), clean_dir / "a.jpg")
    with pytest.raises(ValueError, match="a.jpg and a.png|a.png and a.jpg"):
        make(clean_dir, tmp_path / "set")


def test_maps_from_outside_are_used_and_recorded(clean_dir, tmp_path):
    for folder, names in (("depth", "abc"), ("rain", "xy")):
        (tmp_path / folder).mkdir()
        for name in names:
            save_image(torch.rand(3, 24, 30), tmp_path / folder / f"{name}.png")
    maps = Maps(depth=tmp_path / "depth", rain=tmp_path / "rain")
    make(clean_dir, tmp_path / "set", maps=maps)
    record = json.loads((tmp_path / "set" / "parameters" / "b.json").read_text())["tasks"]["low_haze_rain"]
    assert record["given"] == ["depth", "rain_mask"] or set(record["given"]) == {"depth", "rain_mask"}
    assert record["maps"]["depth"].endswith("b.png")
    for task in ("haze", "haze_rain", "low_haze_rain"):
        assert (replay(tmp_path / "set", "b", task) - load_image(tmp_path / "set" / task / "b.png")).abs().max() <= 0.5 / 255 + 1e-6
    (tmp_path / "depth" / "c.png").unlink()
    result = make(clean_dir, tmp_path / "other", maps=maps)
    assert list(result["failed"]) == ["c.png"] and "no depth map named c" in result["failed"]["c.png"]


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_and_started_again_gives_the_same_set(clean_dir, tmp_path, blow):
    for name in "defghijk":
        save_image(torch.rand(3, 48, 65), clean_dir / f"{name}.png")
    make(clean_dir, tmp_path / "whole")
    out = tmp_path / "set"
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from course_lib.datasets.cdd11 import make_cdd11; make_cdd11(sys.argv[1], sys.argv[2], processes=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(clean_dir), str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "parameters" / "b.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, blow)
    process.wait(timeout=60)
    done = len(list((out / "parameters").glob("*.json")))
    assert 0 < done < 11
    result = make(clean_dir, out)
    assert result["kept"] == done and result["made"] == 11 - done
    assert pictures(out) == pictures(tmp_path / "whole")
