"""`course data check` on damaged copies: every damage is named with its file, and the check goes on through the rest."""

import io
import json
import re
import tarfile
import zipfile

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from course_lib.datasets import inspect_set
from course_lib.datasets.command import data_app
from course_lib.datasets.inspect_set import check_set
from course_lib.images import load_image, save_image

COUNT = 8


@pytest.fixture
def rain(tmp_path):
    """A small Rain100L: eight pairs 1.png to 8.png in input and target."""
    base = tmp_path / "Rain100L"
    for number in range(1, COUNT + 1):
        clean = torch.rand(3, 20, 24) * 0.8
        for folder, image in (("target", clean), ("input", clean + 0.02 * number)):
            (base / folder).mkdir(parents=True, exist_ok=True)
            save_image(image, base / folder / f"{number}.png")
    return base


def check(base, name="Rain100L"):
    return check_set(name, base, progress=False)


def named(report, severity="error"):
    """{file relative to the folder: what is wrong} of the findings of one severity."""
    return {item.file.removeprefix(f"{report.folder}/"): item.wrong for item in report.findings if item.severity == severity}


def mean_psnr(base, numbers):
    from skimage.metrics import peak_signal_noise_ratio

    images = [[load_image(base / folder / f"{n}.png").numpy() for folder in ("target", "input")] for n in numbers]
    return sum(peak_signal_noise_ratio(clean, low, data_range=1) for clean, low in images) / len(images)


def test_a_healthy_partial_set_is_right_and_says_so(rain):
    report = check(rain)
    (split,) = report.splits
    assert report.ok and not named(report) and not named(report, "warning")
    assert (split.split, split.count, split.of) == ("test", COUNT, 100) and "partial set, 8 of 100 pairs" in str(report)
    assert split.input_psnr["rain"] == pytest.approx(mean_psnr(rain, range(1, COUNT + 1)), abs=1e-3)
    assert split.known_psnr == {"rain": 25.52} and split.sizes == {"24x20": COUNT}


def archive_with(path, *names, link=False):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            if link:
                info.external_attr = 0o120777 << 16
            archive.writestr(info, "x")


def truncate(path, cut):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)] if cut < 1 else data[: -int(cut)])


# name -> (damage(base), the file named, words of what is wrong)
DAMAGES = {
    "missing clean": (lambda b: (b / "target/3.png").unlink(), "input/3.png", "clean partner is missing"),
    "missing degraded": (lambda b: (b / "input/3.png").unlink(), "target/3.png", "degraded partner is missing"),
    "half a PNG": (lambda b: truncate(b / "input/3.png", 0.5), "input/3.png", "truncated"),
    "end of a PNG": (lambda b: truncate(b / "target/3.png", 10), "target/3.png", "truncated"),
    "start of a PNG": (lambda b: truncate(b / "input/3.png", 0.02), "input/3.png", "truncated"),
    "other size": (lambda b: save_image(torch.rand(3, 20, 25), b / "input/3.png"), "input/3.png", "25x20.*24x20"),
    "text": (lambda b: (b / "input/3.png").write_text("404 not found\n"), "input/3.png", "text file named .png"),
    "web page": (lambda b: (b / "input/3.png").write_text("<!DOCTYPE html><html>"), "input/3.png", "web page"),
    "empty": (lambda b: (b / "target/3.png").write_bytes(b""), "target/3.png", "zero bytes"),
    "bytes": (lambda b: (b / "target/3.png").write_bytes(bytes(range(256)) * 8), "target/3.png", "not an image"),
    "zip up": (lambda b: archive_with(b / "a.zip", "ok/1.png", "../evil.txt"), "a.zip", r"'\.\./evil.txt'.*outside"),
    "zip absolute": (lambda b: archive_with(b / "a.zip", "/etc/evil.txt"), "a.zip", "'/etc/evil.txt'.*outside"),
    "zip windows": (lambda b: archive_with(b / "a.zip", "C:\\evil.txt"), "a.zip", "outside"),
    "zip link": (lambda b: archive_with(b / "a.zip", "way", link=True), "a.zip", "'way' is a link"),
    "no zip": (lambda b: (b / "a.zip").write_bytes(b"PK\x03\x04 cut"), "a.zip", "broken archive"),
    "link out": (lambda b: swap_for_link(b / "input/3.png", b.parent / "secret.png"), "input/3.png", "leads out of the folder"),
    "link to nothing": (lambda b: (b / "input/9.txt").symlink_to(b / "gone.txt"), "input/9.txt", "link to nothing"),
    "folder link out": (lambda b: (b / "more").symlink_to(b.parent, target_is_directory=True), "more", "leads out of the folder"),
}


def swap_for_link(path, target):
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_named_and_the_rest_is_still_checked(rain, damage):
    do, file, words = DAMAGES[damage]
    do(rain)
    report = check(rain)
    assert list(named(report)) == [file] and not report.ok
    assert re.search(words, named(report)[file]), named(report)
    assert all(item.do for item in report.findings if item.severity == "error"), "what to do stands with every error"
    others = [n for n in range(1, COUNT + 1) if n != 3] if "3." in file else range(1, COUNT + 1)
    assert report.splits[0].input_psnr["rain"] == pytest.approx(mean_psnr(rain, others), abs=1e-3)
    assert not (rain.parent / "evil.txt").exists(), "an archive is looked into, never unpacked"


def test_all_damages_at_once_are_all_named(rain):
    (rain / "target/1.png").unlink()
    truncate(rain / "input/2.png", 0.5)
    save_image(torch.rand(3, 20, 25), rain / "input/3.png")
    (rain / "input/4.png").write_text("no image")
    swap_for_link(rain / "input/5.png", rain.parent / "secret.png")
    archive_with(rain / "a.zip", "../evil.txt")
    assert sorted(named(check(rain))) == ["a.zip", "input/1.png", "input/2.png", "input/3.png", "input/4.png", "input/5.png"]


def test_a_tar_and_a_truncated_jpeg(rain):
    with tarfile.open(rain / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("way")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
        archive.addfile(tarfile.TarInfo("../up.txt"), io.BytesIO())
    save_image(torch.rand(3, 20, 24), rain / "target/3.jpg")
    (rain / "target/3.png").unlink()
    truncate(rain / "target/3.jpg", 0.6)
    report = check(rain)
    wrong = [item.wrong for item in report.findings if item.file.endswith("a.tar.gz")]
    assert len(wrong) == 2 and "'../up.txt'" in " ".join(wrong) and "'way' is a link" in " ".join(wrong)
    assert "truncated" in named(report)["target/3.jpg"]


def test_warnings_are_no_errors(rain):
    Image.open(rain / "target/1.png").convert("L").save(rain / "target/1.png")
    Image.open(rain / "target/2.png").save(rain / "target/2b.jpg")
    (rain / "target/2b.jpg").rename(rain / "target/2.png")
    (rain / "input/3.png").write_bytes((rain / "target/3.png").read_bytes())
    (rain / "input.zip.part").write_bytes(b"x")
    report = check(rain)
    assert report.ok
    found = named(report, "warning")
    assert "stored as L" in found["target/1.png"] and "holds JPEG" in found["target/2.png"]
    assert "same as its clean image" in found["input/3.png"] and "unfinished" in found["input.zip.part"]


def test_known_doubles_are_a_note_and_more_are_a_warning(rain):
    (rain / "target/2.png").write_bytes((rain / "target/1.png").read_bytes())
    Image.open(rain / "target/3.png").save(rain / "target/4.png", compress_level=0)  # the same pixels in other bytes
    report = check(rain)
    assert {"target/1.png": "the same picture as 2.png", "target/3.png": "the same picture as 4.png"}.items() <= named(
        report, "note"
    ).items()
    (rain / "target/5.png").write_bytes((rain / "target/1.png").read_bytes())  # three alike: not among the published doubles
    assert named(check(rain), "warning")["target/1.png"] == "the same picture as 2.png, 5.png"


def test_an_unreadable_file_is_named(rain, monkeypatch):
    from course_lib.datasets import check_files

    def ends(path, _real=check_files._ends):
        if path == rain / "input/6.png":
            raise PermissionError(13, "Permission denied", str(path))
        return _real(path)

    monkeypatch.setattr(check_files, "_ends", ends)  # root may read everything, so the refusal is played
    assert "no permission" in named(check(rain))["input/6.png"]


def test_more_than_the_set_has_and_another_mean_are_warnings(tmp_path):
    for number in range(101):
        clean = torch.full((3, 8, 8), number / 200)
        for folder, image in (("target", clean), ("input", clean + 0.25)):
            (tmp_path / folder).mkdir(exist_ok=True)
            save_image(image, tmp_path / folder / f"{number}.png")
    assert "101 where the set has 100" in named(check(tmp_path), "warning")[str(tmp_path)]
    for folder in ("input", "target"):
        (tmp_path / folder / "100.png").unlink()
    assert "mean input PSNR 12.0" in named(check(tmp_path), "warning")[str(tmp_path)]


def test_nothing_there_says_what_is_expected(tmp_path):
    report = check(tmp_path, "GoPro")
    assert not report.ok and not report.splits
    text = str(report)
    assert "test/*/blur/ + test/*/sharp/" in text and "seungjunnah.github.io" in text


def test_what_is_missing_of_a_numbered_set_is_named(tmp_path):
    for number in set(range(1, 25)) - {7, 19}:
        save_image(torch.rand(3, 8, 8), tmp_path / f"kodim{number:02}.png")
    report = check(tmp_path, "Kodak24")
    assert report.ok and named(report, "note")[str(tmp_path)] == "test: a partial set, 22 of 24 images; missing: 7, 19"


def test_cdd11_is_checked_by_task(tmp_path):
    clean = torch.rand(3, 16, 16) * 0.5
    for folder, image in (("clear", clean), ("low", clean * 0.3), ("haze_rain", clean + 0.3)):
        for name in ("00001", "00002"):
            (tmp_path / folder).mkdir(exist_ok=True)
            save_image(image, tmp_path / folder / f"{name}.png")
    (tmp_path / "low" / "00002.png").unlink()
    report = check(tmp_path, "CDD-11")
    assert named(report) == {"clear/00002.png": "task low: its degraded partner is missing (rule same_name, key '00002')"}
    assert list(report.splits[0].input_psnr) == ["low", "haze_rain"] and report.splits[0].known_psnr["low"] == 12.0
    assert sum("no folder for the task" in item.wrong for item in report.findings) == 9


def test_ctrl_c_stops_at_once(rain, monkeypatch):
    seen = []

    def interrupted(path):
        seen.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect_set, "examine_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_set("Rain100L", rain, progress=False, workers=1)
    assert len(seen) < COUNT


def test_the_command_prints_and_returns_one_when_something_is_wrong(rain, monkeypatch):
    runner = CliRunner()
    monkeypatch.setenv("COURSE_DATA_DIR", str(rain.parent))
    good = runner.invoke(data_app, ["check", "Rain100L", "--json"])
    assert good.exit_code == 0 and json.loads(good.stdout)["splits"][0]["count"] == COUNT
    (rain / "target/1.png").unlink()
    bad = runner.invoke(data_app, ["check", "rain100l", str(rain)])
    assert bad.exit_code == 1 and "error" in bad.stdout and "input/1.png" in bad.stdout
    everything = json.loads(runner.invoke(data_app, ["check", "--json"]).stdout)
    assert [report["name"] for report in everything] == ["Rain100L"] and not everything[0]["ok"]


REAL = {"CBSD68": 68, "Rain100L": 100, "SOTS-outdoor": 2, "SOTS-indoor": 4, "GoPro": 6}


@pytest.mark.parametrize("name", REAL)
def test_real_folders(bench, name):
    from course_lib.datasets.catalogue import find_entry
    from course_lib.datasets.command import presence

    if not presence(find_entry(name)):
        pytest.skip(f"{name} is not under COURSE_DATA_DIR")
    report = check_set(name, progress=False)
    assert report.ok, str(report)
    assert report.splits[0].count >= REAL[name]
    if name == "Rain100L":
        assert report.splits[0].input_psnr["rain"] == pytest.approx(25.52, abs=0.005)
        assert sum("9 such doubles" in item.do for item in report.findings) == 9
