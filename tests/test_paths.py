"""Folders, and files that are written whole or not at all."""

import os
import stat
import subprocess

import pytest

from course_lib import paths


def test_roots():
    assert (paths.data_root() / "photos" / "split.json").is_file()
    assert (paths.repo_root() / "pyproject.toml").is_file()


def test_benchmark_root_follows_the_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    assert paths.benchmark_root() == tmp_path
    monkeypatch.delenv("COURSE_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.benchmark_root() == tmp_path / "cache" / "course-data"


def test_a_missing_data_folder_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "course_lib")
    with pytest.raises(FileNotFoundError, match="install the course again"):
        paths.data_root()


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(NotADirectoryError, match="runs is a file"):
        paths.ensure_folder(tmp_path / "runs" / "new" / "deep")
    with pytest.raises(NotADirectoryError, match="runs is a file"):
        paths.write_atomic(tmp_path / "runs" / "a.txt", "x")
    assert (tmp_path / "runs").read_text() == "mine"


def test_write_atomic_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    paths.write_atomic(path, "one")
    paths.write_atomic(path, "zwei: ä 中文")
    assert path.read_text(encoding="utf-8") == "zwei: ä 中文"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = paths.write_atomic(tmp_path / "a.bin", b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        paths.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_the_commit_of_a_checkout_and_of_none(tmp_path, monkeypatch):
    from course_lib import paths

    monkeypatch.setattr(paths, "repo_root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert paths.repo_commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for words in (["init", "-q"], ["add", "a"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    commit = paths.repo_commit()
    assert len(commit) >= 7 and int(commit, 16) >= 0
    (tmp_path / "a").write_text("2")
    assert paths.repo_commit() == commit + "+"
