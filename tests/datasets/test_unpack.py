"""Archives that are broken, hostile or too big leave nothing behind; good ones come out byte for byte."""

import io
import random
import stat
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import zipfile
import zlib
from types import SimpleNamespace

import pytest
from hostile_server import wait_for

from course_lib.datasets import unpack as module
from course_lib.datasets.unpack import UnpackError, archive_kind, check_archive, unpack

FILES = {"set/a.png": b"first" * 1000, "set/deep/er/b.png": random.Random(0).randbytes(20_000), "set/empty": b""}


def make_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files, *extra):
    mode = {"gz": "w:gz", "tgz": "w:gz", "xz": "w:xz", "bz2": "w:bz2", "tar": "w"}[path.name.rsplit(".", 1)[-1]]
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind, goal in extra:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, goal
            archive.addfile(member)
    return path


def make(path, files):
    return make_zip(path, files) if path.suffix == ".zip" else make_tar(path, files)


def found(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def out(archive, destination, **options):
    return unpack(archive, destination, **({"progress": False} | options))


def refused(archive, match, **options):
    """Refused, the archive named, and nothing but the archive in its folder, nor anything new above it."""
    folder = archive.parent
    before = sorted(folder.parent.iterdir())
    with pytest.raises(UnpackError, match=match) as caught:
        out(archive, folder / "out", **options)
    assert str(archive) in str(caught.value)
    assert {path.name for path in folder.iterdir()} <= {archive.name, ".out.unpacking.lock"}
    assert sorted(folder.parent.iterdir()) == before


KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_packed_comes_out(tmp_path, kind):
    archive = make(tmp_path / kind, FILES)
    assert check_archive(archive) == 3
    assert out(archive, tmp_path / "x" / "out") == tmp_path / "x" / "out"
    assert found(tmp_path / "x" / "out") == {name.removeprefix("set/"): content for name, content in FILES.items()}
    out(archive, tmp_path / "kept", strip=False)
    assert found(tmp_path / "kept") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {kind, "x", "kept"}


def test_only_a_lone_top_folder_is_taken_off(tmp_path):
    two = {"train/a": b"1", "test/a": b"2", "__MACOSX/train/._a": b"junk", "train/.DS_Store": b"junk"}
    assert found(out(make_zip(tmp_path / "a.zip", two), tmp_path / "two")) == {"train/a": b"1", "test/a": b"2"}
    one = {"only.txt": b"1", "__MACOSX/x": b"junk"}
    assert found(out(make_zip(tmp_path / "b.zip", one), tmp_path / "one")) == {"only.txt": b"1"}


def test_windows_separators_become_folders(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"set|x": b"1", "set|y|z": b"2"})
    archive.write_bytes(archive.read_bytes().replace(b"|", b"\\"))
    assert found(out(archive, tmp_path / "out")) == {"x": b"1", "y/z": b"2"}


BAD_NAMES = ["../evil", "set/../../evil", "/etc/evil", "..", "C:/evil", "c:evil", "..\\evil", "set\\..\\..\\evil", "//host/evil", "\\evil"]


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_out(tmp_path, kind, name):
    (tmp_path / "in").mkdir()
    refused(make(tmp_path / "in" / kind, {"set/good": b"1", name: b"evil"}), "outside the folder")


def test_any_name_stays_inside_or_is_refused(tmp_path):
    draw = random.Random(3)
    kept = 0
    for number in range(150):
        name = "".join(draw.choice(["..", "/", "\\", "a", ".", "C:", " ", "b"]) for _ in range(draw.randint(1, 7)))
        folder = tmp_path / str(number)
        folder.mkdir()
        archive = make(folder / draw.choice(["a.zip", "a.tar"]), {name: b"x", "c": b"y"})
        try:
            out(archive, folder / "out", strip=False)
            kept += 1
        except UnpackError:
            assert not (folder / "out").exists()
        assert {path.name for path in folder.iterdir()} - {archive.name} <= {"out", ".out.unpacking.lock"}
    assert 20 < kept < 130 and len(list(tmp_path.iterdir())) == 150


OUTWARD = [tarfile.SYMTYPE, tarfile.LNKTYPE]


@pytest.mark.parametrize("kind", OUTWARD)
@pytest.mark.parametrize("goal", ["/etc/passwd", "../../secret", "nowhere", "set/link"])
def test_links_that_lead_out_or_nowhere(tmp_path, kind, goal):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    refused(make_tar(tmp_path / "in" / "a.tar", {"set/a": b"1"}, ("set/link", kind, goal)), "leads out or nowhere|link to a folder")


@pytest.mark.parametrize("goals", [["loop"], ["two", "loop"]])
def test_links_in_a_circle(tmp_path, goals):
    (tmp_path / "in").mkdir()
    links = [(name, tarfile.SYMTYPE, goal) for name, goal in zip(["loop", "two"], goals, strict=False)]
    refused(make_tar(tmp_path / "in" / "a.tar", {}, *links), "leads out or nowhere")


def test_a_file_written_through_a_link(tmp_path):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "a.tar"
    with tarfile.open(archive, "w") as opened:
        link = tarfile.TarInfo("set")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        opened.addfile(link)
        file = tarfile.TarInfo("set/evil")
        file.size = 1
        opened.addfile(file, io.BytesIO(b"x"))
    refused(archive, "leads out or nowhere")


def test_links_inside_become_copies(tmp_path):
    links = ("set/hard", tarfile.LNKTYPE, "set/a"), ("set/soft", tarfile.SYMTYPE, "a")
    folder = out(make_tar(tmp_path / "a.tar.gz", {"set/a": b"1"}, *links), tmp_path / "out")
    assert found(folder) == {"a": b"1", "hard": b"1", "soft": b"1"} and not (folder / "soft").is_symlink()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes(tmp_path, kind):
    (tmp_path / "in").mkdir()
    refused(make_tar(tmp_path / "in" / "a.tar", {"a": b"1"}, ("device", kind, "")), "device or a pipe")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_in_a_zip(tmp_path, mode):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("link")
        info.external_attr = (mode | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    refused(archive, "link or a device")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_bombs(tmp_path, kind, monkeypatch):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / kind, {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size < 20_000
    refused(archive, "zip bomb", limit=1_000_000)
    monkeypatch.setattr(module, "FLOOR", 0)
    refused(archive, "zip bomb")
    with pytest.raises(UnpackError, match="zip bomb"):
        check_archive(archive)
    assert (out(archive, tmp_path / "out", limit=5_000_000) / "zeros").stat().st_size == 5_000_000


def test_a_zip_that_lies_about_its_size_cannot_grow(tmp_path):
    (tmp_path / "in").mkdir()
    archive = make_zip(tmp_path / "in" / "a.zip", {"zeros": bytes(1_000_000)})
    content = archive.read_bytes()
    assert content.count(struct.pack("<I", 1_000_000)) == 2
    archive.write_bytes(content.replace(struct.pack("<I", 1_000_000), struct.pack("<I", 10)))
    refused(archive, "broken archive", limit=1000)


def test_too_many_files(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(module, "MOST_FILES", 5)
    refused(make_zip(tmp_path / "in" / "a.zip", {str(number): b"" for number in range(6)}), "more than 5 files")


def test_no_room(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    refused(make_zip(tmp_path / "in" / "a.zip", FILES), "do not fit in")


def test_encrypted(tmp_path):
    (tmp_path / "in").mkdir()
    archive = make_zip(tmp_path / "in" / "a.zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flags of the file's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(content)
    refused(archive, "encrypted")


def test_packed_in_an_unusual_way(tmp_path):
    (tmp_path / "in").mkdir()
    refused(make_zip(tmp_path / "in" / "a.zip", {"a": b"1"}, zipfile.ZIP_LZMA), "by method 14; unpack it by hand")
    (tmp_path / "b.rar").write_bytes(b"Rar!")
    with pytest.raises(UnpackError, match="unpack it by hand"):
        out(tmp_path / "b.rar", tmp_path / "out")
    assert [archive_kind(name) for name in ("a.ZIP", "a.tar.gz", "a.rar", "a.png", "tar")] == ["zip", "tar", "unknown", None, None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.8])
def test_cut_archives(tmp_path, kind, share):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / kind, {f"set/{n}": random.Random(n).randbytes(3000) for n in range(10)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share) // 512 * 512])
    refused(archive, "broken archive|not a whole")
    with pytest.raises(UnpackError):
        check_archive(archive)


@pytest.mark.parametrize("files", [1, 2])
def test_a_tar_cut_between_two_files(tmp_path, files):
    """Where Python's own reader sees a whole archive; the files are zeros, so that their last block looks like an end mark."""
    (tmp_path / "in").mkdir()
    archive = make_tar(tmp_path / "in" / "a.tar", {f"{n}": bytes(1024) for n in range(3)})
    archive.write_bytes(archive.read_bytes()[: files * (512 + 1024)])
    assert len(tarfile.open(archive).getnames()) == files
    refused(archive, "ends without an end mark")


def test_a_tar_with_a_broken_header_in_the_middle(tmp_path):
    (tmp_path / "in").mkdir()
    archive = make_tar(tmp_path / "in" / "a.tar", {f"{n}": bytes(1024) for n in range(3)})
    content = bytearray(archive.read_bytes())
    content[512 + 1024 : 512 + 1024 + 512] = random.Random(0).randbytes(512)
    archive.write_bytes(content)
    refused(archive, "ends without an end mark|broken archive")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_a_flipped_byte_is_found(tmp_path, kind):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / kind, {"set/a": random.Random(1).randbytes(50_000)})
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 64
    archive.write_bytes(content)
    refused(archive, "broken archive|not a whole")


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", zlib.compress(b"x")])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "in").mkdir()
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / "in" / name).write_bytes(content)
        with pytest.raises(UnpackError, match="not a whole (zip|tar) archive"):
            check_archive(tmp_path / "in" / name)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "a"], ["a", "./a"]])
def test_a_name_twice(tmp_path, names):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "in" / "a.tar"
    with tarfile.open(archive, "w") as opened:
        for name in names:
            opened.addfile(tarfile.TarInfo(name), io.BytesIO())
    refused(archive, "in it twice")


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_what_is_there_is_never_overwritten(tmp_path, there):
    destination = tmp_path / "out"
    if there == "folder":
        destination.mkdir()
        (destination / "mine").write_text("mine")
    elif there == "file":
        destination.write_text("mine")
    else:
        (tmp_path / "goal").mkdir()
        destination.symlink_to(tmp_path / "goal")
    before = found(tmp_path)
    with pytest.raises(FileExistsError, match="out is already there and is not overwritten"):
        out(make_zip(tmp_path.parent / f"{tmp_path.name}.zip", FILES), destination)
    assert {name: content for name, content in found(tmp_path).items() if not name.endswith(".lock")} == before


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert len(found(out(make_zip(tmp_path / "a.zip", FILES), tmp_path / "out"))) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("blow", ["kill", "interrupt"])
def test_killed_half_way_and_run_again(tmp_path, blow):
    """The process stops for good in the middle of the third file; nothing stands at the destination, and a second run is whole."""
    archive = make_zip(tmp_path / "a.zip", {f"set/{n}": bytes([n]) * 1000 for n in range(5)})
    code = f"""
        import os, signal, time
        from course_lib.datasets import unpack as module
        spend, files = module._spend, []
        def slow(archive, left, size):
            files.append(size)
            if len(files) == 4:  # the sum of all, then file by file
                {"os.kill(os.getpid(), signal.SIGKILL)" if blow == "kill" else "raise KeyboardInterrupt"}
            return spend(archive, left, size)
        module._spend = slow
        module.unpack({str(archive)!r}, {str(tmp_path / "out")!r}, progress=False)
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=60)
    assert process.returncode != 0 and not (tmp_path / "out").exists()
    assert len(found(tmp_path / ".out.unpacking")) == (3 if blow == "kill" else 0)
    assert len(found(out(archive, tmp_path / "out"))) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "out"}


def test_two_at_once(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", FILES)
    gate, said, results, spend = threading.Event(), [], [], module._spend

    def slow(*arguments):
        assert gate.wait(10)
        return spend(*arguments)

    def run():
        try:
            results.append(out(archive, tmp_path / "out", say=said.append))
        except FileExistsError:
            results.append("there")

    monkeypatch.setattr(module, "_spend", slow)
    threads = [threading.Thread(target=run) for _ in range(2)]
    [thread.start() for thread in threads]
    wait_for(lambda: said)
    gate.set()
    [thread.join(10) for thread in threads]
    assert sorted(map(str, results)) == sorted([str(tmp_path / "out"), "there"])
    assert "waiting" in said[0] and len(found(tmp_path / "out")) == 3
