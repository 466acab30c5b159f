"""Downloads that go on where they were cut, and give either the whole, checked file or a clear error.

The bytes go to `NAME.part` beside the destination, with `NAME.part.json` saying which file of the server they belong to; only a part
that passes its checks gets the name of the destination. Written over `requests`, because pooch (1.9) checks hashes but starts a cut
download from the first byte. HTTP ranges and their conditions: RFC 9110, sections 13.1.5 (If-Range) and 14.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from course_lib.datasets.transfer import DownloadError, Job, may_be_page, rest, transfer
from course_lib.datasets.unpack import UnpackError, archive_kind, check_archive, held, unpack
from course_lib.paths import ensure_folder

__all__ = ["DownloadError", "PersonNeeded", "download", "fetch"]


class PersonNeeded(DownloadError):
    """A set behind a form or a drive that only a person can fetch; the message gives the steps and the folder expected."""


def download(
    url: str,
    destination: str | Path,
    *,
    bytes: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    progress: bool = True,
    retries: int = 5,
    timeout: float = 30.0,
    pause: float = 1.0,
    say: Callable[[str], None] = print,
) -> Path:
    """Download `url` as the file `destination`, going on with what an earlier run left; a file that is there is checked and returned.

    `bytes`, `sha256`, `md5`: what is known about the file. `retries`: tries in a row that may bring nothing new; `timeout`: seconds of
    silence; `pause`: seconds before the first new try, doubled each time. Two processes wait for each other. Raises DownloadError.
    """
    destination = Path(destination)
    sums = {name: value.lower() for name, value in (("sha256", sha256), ("md5", md5)) if value}
    job = Job(url, destination, bytes, sums, progress, timeout, say)
    try:
        ensure_folder(destination.parent)
        with held(destination.with_name(f".{destination.name}.lock"), say, f"{destination.name}: another process downloads it; waiting"):
            if os.path.lexists(destination):
                return _already_there(job)
            transfer(job, retries, pause)
            _accept(job)
    except KeyboardInterrupt:
        say(f"{destination.name}: stopped{rest(job)}")
        raise
    except OSError as error:
        free = f", {shutil.disk_usage(destination.parent).free / 1e6:.0f} MB free" if destination.parent.is_dir() else ""
        reason = error.strerror or error
        raise DownloadError(f"{destination.name}: cannot write in {destination.parent} ({reason}{free}){rest(job)}") from error
    return destination


def fetch(entry, root: str | Path, progress: bool = True, say: Callable[[str], None] = print) -> Path:
    """Download and unpack a set of the catalogue as `root/entry.folder`; a folder that is there is left alone and returned.

    `entry` has name, how ("direct" or "person"), folder, steps, and files: {url, name, bytes, sha256, md5, unpack, into} each. A set of
    one archive becomes the folder itself; of several, each gets the subfolder `into` (default: its name). Raises PersonNeeded with the
    steps, DownloadError, UnpackError; a second call goes on.
    """
    folder = Path(root) / entry.folder
    if folder.is_dir() and any(folder.iterdir()):
        say(f"{entry.name}: {folder} is already there; nothing is downloaded")
        return folder
    if entry.how != "direct" or not entry.files:
        steps = (entry.steps or "").strip() or "see its home page"
        raise PersonNeeded(f"{entry.name} can only be had by a person.\n{steps}\nThe course then expects it in the folder {folder}")
    # by the folder, not the name: the splits of a set may come one by one, each in a folder of its own
    store = ensure_folder(Path(root) / ".downloads" / str(entry.folder).replace("/", "--"))
    with held(store / ".lock", say, f"{entry.name}: another process fetches it; waiting"):
        if not folder.exists() or not any(folder.iterdir()):
            whole = store / "whole"  # holds finished files and folders only, and so does its rename
            for item in entry.files:
                _fetch_item(item, store, whole, alone=len(entry.files) == 1, progress=progress, say=say)
            _move(whole, folder)
    say(f"{entry.name}: in {folder}")
    return folder


def _move(whole: Path, folder: Path) -> None:
    ensure_folder(folder.parent)
    if folder.is_dir():
        folder.rmdir()  # empty, or it would have been left alone
    os.rename(whole, folder)


def _fetch_item(item: dict, store: Path, whole: Path, *, alone: bool, progress: bool, say: Callable[[str], None]) -> None:
    name = item.get("name") or unquote(urlsplit(item["url"]).path).rsplit("/", 1)[-1]
    is_archive = item.get("unpack", archive_kind(name) is not None)
    into = item.get("into") or ("." if alone and is_archive else name.split(".")[0] if is_archive else name)
    target = whole / into
    if target.exists():
        return
    path = download(
        item["url"], store / name, progress=progress, say=say, **{key: item.get(key) or None for key in ("bytes", "sha256", "md5")}
    )
    ensure_folder(target.parent)
    if is_archive:
        unpack(path, target, progress=progress, say=say)
        path.unlink()  # what it held is whole in its place
    else:
        os.replace(path, target)


def _already_there(job: Job) -> Path:
    try:
        _check(job, job.destination)
    except DownloadError as error:
        advice = "it is not overwritten: move it away and run again"
        raise DownloadError(f"{job.destination} is already there, but {error}; {advice}") from error
    job.say(f"{job.destination.name}: already there")
    return job.destination


def _accept(job: Job) -> None:
    """Check the part and give it its name; a part that fails is removed, so that the next run starts anew."""
    try:
        _check(job, job.part)
    except DownloadError as error:
        job.drop()
        raise DownloadError(f"{job.destination.name}: {error}; what came was removed, run again to download it anew ({job.url})") from error
    with open(job.part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(job.part, job.destination)
    job.note.unlink(missing_ok=True)


def _check(job: Job, path: Path) -> None:
    """Raises DownloadError when `path` is not the file by its length, checksums or, without one, by reading the archive."""
    with open(path, "rb") as file:
        if not may_be_page(job.destination) and re.match(rb"\s*<(!doctype\s+html|html)", file.read(512), re.I):
            raise DownloadError("it is a web page, not the file")
    size = path.stat().st_size
    if job.size is not None and size != job.size:
        raise DownloadError(f"it has {size} bytes instead of {job.size}")
    for name, wanted in job.sums.items():
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != wanted:
            raise DownloadError(f"wrong checksum: {name} is {found} instead of {wanted}")
    if not job.sums and archive_kind(job.destination) in ("zip", "tar"):
        _check_archive(job, path)
        job.say(f"{job.destination.name}: no checksum known; size and archive integrity checked")
    elif not job.sums:
        job.say(f"{job.destination.name}: no checksum known; only its length could be checked")


def _check_archive(job: Job, path: Path) -> None:
    try:
        check_archive(path, name=job.destination.name)
    except UnpackError as error:
        raise DownloadError(str(error).removeprefix(f"{path}: ")) from error
