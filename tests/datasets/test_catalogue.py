"""The catalogue is complete and honest in form, and `course data list`, `get` and `make` say and do what it holds."""

import json
import re

import pytest
from typer.testing import CliRunner

from course_lib.datasets.catalogue import HOWS, DataSetError, catalogue, find_entry
from course_lib.datasets.catalogue_pairing import RULES
from course_lib.datasets.command import data_app

SETS = (
    "BSD400 WED BSDS500 CBSD68 Urban100 Kodak24 McMaster Rain100L Rain100H Rain13K RESIDE SOTS-outdoor SOTS-indoor GoPro LOL-v1 CDD-11 "
    "DIV2K Flickr2K"
).split()
ENTRIES = [pytest.param(entry, id=entry.name) for entry in catalogue().values()]


def run(*words):
    result = CliRunner().invoke(data_app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_set_of_the_field_is_there_once():
    assert sorted(catalogue()) == sorted(SETS)
    words = [word.casefold() for entry in catalogue().values() for word in {entry.name.casefold(), *map(str.casefold, entry.aliases)}]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_has_every_field(entry):
    for word in (entry.title, entry.task, entry.terms, entry.steps, entry.folder, entry.protocol):
        assert word.strip()
    assert entry.how in HOWS and entry.home.startswith("https://") and entry.traps
    assert (entry.how == "direct") == bool(entry.files)
    assert entry.folder in entry.steps, "the steps end in the folder that is expected"
    assert all(count > 0 for count in entry.splits.values())
    assert set(entry.source) >= {"terms", "how", "splits", "layouts", "protocol", "traps"} and all(entry.source.values())
    for split, (first, last) in entry.numbers.items():
        assert last - first + 1 == entry.splits[split]
    assert set(entry.input_psnr) <= {*entry.splits, *entry.tasks}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_split_has_a_layout_with_a_known_rule(entry):
    assert {layout.split for layout in entry.layouts} == set(entry.splits)
    for layout in entry.layouts:
        assert layout.pairing in RULES and (layout.pairing == "clean_only") == (layout.degraded is None)
        assert not layout.only or layout.only in entry.folders
        assert bool(entry.tasks) == ("{task}" in (layout.degraded or ""))


@pytest.mark.parametrize("entry", ENTRIES)
def test_downloads_are_well_formed(entry):
    names = [file["name"] for file in entry.files]
    assert len(names) == len(set(names))
    for file in entry.files:
        assert file["url"].startswith("https://") and set(file) <= {"url", "name", "bytes", "sha256", "md5", "unpack", "split", "into"}
        assert re.fullmatch(r"[0-9a-f]{64}", file.get("sha256", "0" * 64)) and re.fullmatch(r"[0-9a-f]{32}", file.get("md5", "0" * 32))
        assert file.get("bytes", 1) > 0
        assert ("split" in file) == ("into" in file), "a split that comes alone needs a folder of its own"
        assert file.get("split") in {None, *entry.splits}


def test_names_and_aliases_are_found_in_any_case():
    assert find_entry("bsd68").name == "CBSD68" and find_entry("LOL").name == "LOL-v1" and find_entry("sots-outdoor").name == "SOTS-outdoor"
    with pytest.raises(DataSetError, match="ImageNet.*Rain100L"):
        find_entry("ImageNet")


def test_list_shows_every_set_and_what_is_there(tmp_path):
    for number in range(3):
        (tmp_path / "Kodak24").mkdir(exist_ok=True)
        (tmp_path / "Kodak24" / f"kodim0{number}.png").touch()
    rows = {row["name"]: row for row in json.loads(run("list", "--json", "--root", str(tmp_path)).stdout)}
    assert list(rows) == list(catalogue())
    assert rows["Kodak24"]["present"]["test"] == {"count": 3, "of": 24, "folder": str(tmp_path / "Kodak24")}
    assert not rows["GoPro"]["present"] and rows["GoPro"]["terms"] == "CC BY 4.0"
    text = run("list", "--root", str(tmp_path)).stdout
    assert all(name in text for name in SETS) and "test 3/24" in text


def test_list_of_one_set_tells_all_about_it():
    text = run("list", "Rain100L").stdout
    entry = find_entry("Rain100L")
    assert all(trap in text for trap in entry.traps) and entry.protocol in text and entry.home in text and "by_number" in text
    assert json.loads(run("list", "Rain100L", "--json").stdout)[0]["splits"] == {"test": 100, "train": 200}


def test_get_says_the_steps_of_what_only_a_person_can_have(tmp_path):
    result = run("get", "LOL", "--root", str(tmp_path))
    assert result.exit_code == 1 and "eval15" in result.stdout and str(tmp_path / "LOL-v1") in result.stdout
    assert json.loads(run("get", "LOL", "--root", str(tmp_path), "--json").stdout)["status"] == "person"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def fetched(monkeypatch):
    """Calls of `fetch`, which here only puts one image where the part belongs."""
    from course_lib.datasets import download

    calls = []

    def fetch(entry, root, progress=True, say=print):
        calls.append((entry, root))
        (root / entry.folder).mkdir(parents=True)
        (root / entry.folder / "0801.png").touch()
        return root / entry.folder

    monkeypatch.setattr(download, "fetch", fetch)
    return calls


def test_get_downloads_one_split_alone_or_all(tmp_path, fetched):
    result = run("get", "DIV2K", "--split", "valid", "--root", str(tmp_path), "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["present"] == {
        "valid": {"count": 1, "of": 100, "folder": str(tmp_path / "DIV2K")}
    }
    ((part, root),) = fetched
    assert root == tmp_path and part.folder == "DIV2K/DIV2K_valid_HR" and [file["name"] for file in part.files] == ["DIV2K_valid_HR.zip"]
    assert run("get", "BSDS500", "--root", str(tmp_path)).exit_code == 1  # the stand-in makes no known layout of it
    assert fetched[1][0] is find_entry("BSDS500")
    with pytest.raises(DataSetError, match="no split 'test'; it has train, valid"):
        run("get", "DIV2K", "--split", "test")


def test_get_leaves_alone_what_is_complete(tmp_path, fetched):
    (tmp_path / "Kodak24").mkdir()
    for number in range(24):
        (tmp_path / "Kodak24" / f"kodim{number + 1:02}.png").touch()
    result = run("get", "Kodak24", "--root", str(tmp_path), "--json")
    assert (result.exit_code, json.loads(result.stdout)["status"], fetched) == (0, "present", [])


def test_make_hands_over_what_it_was_given(tmp_path, monkeypatch):
    from course_lib.datasets import cdd11

    seen = {}

    def make_cdd11(clean, out, **options):
        seen.update(options, clean=clean, out=out)
        return {"images": 2, "made": 1, "kept": 0, "failed": {"a.png": "broken"}, "out": str(out)}

    monkeypatch.setattr(cdd11, "make_cdd11", make_cdd11)
    words = ["make", "cdd11", str(tmp_path), "-o", str(tmp_path / "out"), "--processes", "2", "--seed", "7", "--limit", "2", "--json"]
    result = run(*words, "--rain", str(tmp_path / "masks"))
    assert result.exit_code == 1 and json.loads(result.stdout)["failed"] == {"a.png": "broken"}  # one image could not be made
    assert {key: seen[key] for key in ("clean", "out", "processes", "seed", "limit", "progress")} == {
        "clean": tmp_path, "out": tmp_path / "out", "processes": 2, "seed": 7, "limit": 2, "progress": False
    }  # fmt: skip
    assert seen["maps"] == cdd11.Maps(rain=tmp_path / "masks")
    with pytest.raises(DataSetError, match="cdd11"):
        run("make", "imagenet", str(tmp_path), "-o", str(tmp_path / "out"))
