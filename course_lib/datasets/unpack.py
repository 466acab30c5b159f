"""Archives that came from elsewhere: tested, and unpacked so that nothing lands outside and no half folder looks whole.

An archive is unpacked into a hidden folder beside the destination, which gets its name by one rename when everything is there.
A killed run leaves the hidden folder only; the next run removes it.
"""

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from course_lib.paths import ensure_folder

CHUNK = 1 << 20
FACTOR = 100  # images hardly shrink in an archive; one that grows a hundredfold is no data set
FLOOR = 64 << 20  # ... but a small one may: a few flat pictures or text files
PADDING = 64 << 20  # bytes behind the end of a tar; they are read for the checksum, 10 kB are usual
MOST_FILES = 2_000_000
# what a Mac adds to a zip; it would hide that all the rest lies in one folder
LITTER = re.compile(r"(^|/)(__MACOSX(/|$)|\.DS_Store$)")
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, UnicodeError)


class UnpackError(RuntimeError):
    """An archive that is broken, encrypted, too big for its limit or the disk, or would write outside its folder."""


@dataclass(frozen=True)
class Entry:
    """One file (`open` gives its bytes) or folder (`open` is None) of an archive."""

    name: str
    open: Callable[[], IO[bytes]] | None


def archive_kind(name: str | Path) -> str | None:
    """`zip`, `tar`, or `unknown` (an archive that the course cannot open) by the file's name; None for what is no archive."""
    name = Path(name).name.lower()
    if name.endswith(".zip"):
        return "zip"
    if name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")):
        return "tar"
    return "unknown" if name.endswith((".rar", ".7z")) else None


@contextmanager
def held(lock: Path, say: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Hold a file lock, so that one process at a time passes; says `waiting` when it must wait. A killed holder frees it.

    After success the lock file goes: whoever still waits for it finds the work done. After an error it stays.
    """
    from filelock import FileLock, Timeout

    key = FileLock(lock)
    try:
        key.acquire(timeout=0)
    except Timeout:
        say(waiting)
        key.acquire()
    try:
        yield
        with suppress(OSError):  # Windows keeps a file that is open
            lock.unlink()
    finally:
        key.release()


def check_archive(archive: str | Path, name: str | None = None) -> int:
    """Read every byte of a zip or tar without writing any; returns the number of files. Raises UnpackError naming what is broken.

    `name`: what the file will be called, when it still has another name.
    """
    archive = Path(archive)
    left, count = _limit(archive, None), 0
    with _entries(archive, left, name) as (_, entries):
        for entry in _checked(archive, entries):
            if entry.open:
                for chunk in _chunks(archive, entry):
                    left = _spend(archive, left, len(chunk))
                count += 1
    return count


def unpack(
    archive: str | Path,
    destination: str | Path,
    *,
    limit: int | None = None,
    strip: bool = True,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Unpack a zip or tar(.gz/.xz/.bz2) as the new folder `destination`, all or nothing.

    `limit`: most bytes it may grow to (default: 100 times the archive, at least 64 MiB). `strip`: when everything lies in one top folder,
    that folder becomes `destination`. Links inside a tar become copies. Raises UnpackError (broken, encrypted, too big, an entry that
    would land outside, a device, no room on the disk) and FileExistsError naming a destination that is there.
    """
    archive, destination = Path(archive), Path(destination)
    ensure_folder(destination.parent)
    lock = destination.with_name(f".{destination.name}.unpacking.lock")
    with held(lock, say, f"{destination}: another process is unpacking it; waiting"):
        _must_be_free(destination)
        stage = destination.with_name(f".{destination.name}.unpacking")
        shutil.rmtree(stage, ignore_errors=True)  # what a killed run left
        try:
            stage.mkdir()
            _extract(archive, stage, limit, progress)
            whole = _only_folder(stage) if strip else stage
            if destination.is_dir():
                destination.rmdir()  # empty, or it would have been refused
            os.rename(whole, destination)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return destination


def _must_be_free(destination: Path) -> None:
    empty = destination.is_dir() and not destination.is_symlink() and not any(destination.iterdir())
    if os.path.lexists(destination) and not empty:
        raise FileExistsError(f"{destination} is already there and is not overwritten; move it away, or use it as it is")


def _only_folder(stage: Path) -> Path:
    inside = list(stage.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else stage


def _extract(archive: Path, stage: Path, limit: int | None, progress: bool) -> None:
    from tqdm import tqdm

    left = _limit(archive, limit)
    bar = tqdm(unit="B", unit_scale=True, desc=f"unpack {archive.name}", disable=not progress, mininterval=0.5)
    with _entries(archive, left) as (declared, entries), bar:
        _room(archive, stage, declared)
        bar.total = declared
        for entry in _checked(archive, entries):
            target = stage / entry.name
            try:
                if not entry.open:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as file:
                    for chunk in _chunks(archive, entry):
                        left = _spend(archive, left, len(chunk))
                        file.write(chunk)
                        bar.update(len(chunk))
            except (FileExistsError, NotADirectoryError) as error:
                raise UnpackError(f"{archive}: {entry.name!r} is in it twice, or as a file and a folder; nothing was unpacked") from error
            except OSError as error:
                free = shutil.disk_usage(stage).free / 1e6
                reason = f"cannot write {entry.name!r} in {stage.parent} ({error.strerror}; {free:.0f} MB free)"
                raise UnpackError(f"{archive}: {reason}; nothing was unpacked") from error


def _room(archive: Path, stage: Path, declared: int | None) -> None:
    free = shutil.disk_usage(stage).free
    if declared is not None and declared > free:
        reason = f"{declared / 1e6:.0f} MB do not fit in {stage.parent} ({free / 1e6:.0f} MB free); nothing was unpacked"
        raise UnpackError(f"{archive}: {reason}")


def _limit(archive: Path, limit: int | None) -> int:
    return limit if limit is not None else max(FLOOR, FACTOR * archive.stat().st_size)


def _spend(archive: Path, left: int, size: int) -> int:
    if size > left:
        raise UnpackError(f"{archive}: grows beyond its limit when unpacked, as a zip bomb does; nothing was unpacked")
    return left - size


def _checked(archive: Path, entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries with cleaned names; raises at the first that would leave the folder."""
    for number, entry in enumerate(_reading(archive, entries)):
        if number >= MOST_FILES:
            raise UnpackError(f"{archive}: more than {MOST_FILES} files; nothing was unpacked")
        name = entry.name.replace("\\", "/")  # zips made on Windows
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
            raise UnpackError(f"{archive}: {entry.name!r} would be written outside the folder; nothing was unpacked")
        if parts and not LITTER.search("/".join(parts)):
            yield Entry("/".join(parts), entry.open)


def _reading(archive: Path, items: Iterator) -> Iterator:
    """The items, with whatever the reader raises for broken bytes turned into an UnpackError."""
    try:
        yield from items
    except NotImplementedError as error:
        raise UnpackError(f"{archive}: packed in a way that Python cannot read ({error}); unpack it by hand") from error
    except (*BROKEN, OSError, ValueError) as error:
        raise UnpackError(f"{archive}: broken archive ({error}); delete it and download it again") from error


def _chunks(archive: Path, entry: Entry) -> Iterator[bytes]:
    def read() -> Iterator[bytes]:
        with entry.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

    yield from _reading(archive, read())


@contextmanager
def _entries(archive: Path, limit: int, name: str | None = None) -> Iterator[tuple[int | None, Iterator[Entry]]]:
    """Opens the archive: the bytes that it says it grows to (None: it does not say) and its entries, one after the other."""
    name = name or archive.name
    kind = archive_kind(name)
    if kind not in ("zip", "tar"):
        raise UnpackError(f"{archive}: the course opens .zip and .tar(.gz/.xz/.bz2) only; unpack it by hand")
    try:
        opened = zipfile.ZipFile(archive) if kind == "zip" else tarfile.open(archive)
    except FileNotFoundError:
        raise
    except (*BROKEN, OSError, ValueError) as error:
        raise UnpackError(f"{archive}: not a whole {kind} archive ({error}); delete it and download it again") from error
    with opened:
        if kind == "tar":
            yield None, _tar_entries(archive, opened)
        else:
            declared = sum(info.file_size for info in opened.infolist())
            _spend(archive, limit, declared)
            yield declared, _zip_entries(archive, opened)


def _zip_entries(archive: Path, opened: zipfile.ZipFile) -> Iterator[Entry]:
    for info in opened.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 1:
            raise UnpackError(f"{archive}: {info.filename!r} is encrypted; ask for the password and unpack it by hand")
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnpackError(f"{archive}: {info.filename!r} is a link or a device, not a file; nothing was unpacked")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Python unpacks the others without a bound on memory
            raise UnpackError(f"{archive}: {info.filename!r} is packed by method {info.compress_type}; unpack it by hand")
        folder = info.is_dir() or mode == stat.S_IFDIR
        yield Entry(info.filename, None if folder else lambda info=info: opened.open(info))


def _tar_entries(archive: Path, opened: tarfile.TarFile) -> Iterator[Entry]:
    for member in opened:
        if member.isdir():
            yield Entry(member.name, None)
        elif member.isfile() or member.islnk() or member.issym():
            yield Entry(member.name, lambda member=member: _tar_file(archive, opened, member))
        else:
            raise UnpackError(f"{archive}: {member.name!r} is a device or a pipe, not a file; nothing was unpacked")
    _tar_end(opened)


def _tar_end(opened: tarfile.TarFile) -> None:
    """What the reader leaves out: it takes a tar cut between two files for a whole one, and never comes to a gzip's checksum."""
    opened.fileobj.seek(opened.offset)
    if opened.fileobj.read(512) != bytes(512):
        raise tarfile.ReadError("it ends without an end mark")
    padding = 0
    while chunk := opened.fileobj.read(CHUNK):
        padding += len(chunk)
        if padding > PADDING:
            raise tarfile.ReadError("it goes on behind its end mark")


def _tar_file(archive: Path, opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        file = opened.extractfile(member)  # follows a link, but only to what the archive itself holds
    except (KeyError, RecursionError) as error:
        raise UnpackError(f"{archive}: {member.name!r} is a link that leads out or nowhere; nothing was unpacked") from error
    if file is None:
        raise UnpackError(f"{archive}: {member.name!r} is a link to a folder; nothing was unpacked")
    return file
