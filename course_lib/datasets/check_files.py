"""What can be wrong with single files of a benchmark folder: images that do not decode, archives and links that lead out of it."""

import hashlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from torch import Tensor

from course_lib.images import IMAGE_SUFFIXES, ImageError, load_image, to_uint8

SEVERITIES = ("error", "warning", "note")
SUFFIX_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
UNFINISHED = (".part", ".crdownload", ".download", ".filepart", ".aria2")
FETCH = "fetch this file again"


@dataclass(frozen=True)
class Finding:
    """One thing to know about one file: severity (`error`, `warning`, `note`), the file, what is wrong and what to do."""

    severity: str
    file: str
    wrong: str
    do: str

    def __str__(self) -> str:
        return f"{self.severity:7} {self.file}: {self.wrong}" + (f"; {self.do}" if self.do else "")


@dataclass(frozen=True)
class Picture:
    """A decoded image (3, H, W) in [0, 1] and the hash of its pixels, the same for the same picture in another file or format."""

    pixels: Tensor
    digest: str


def _ends(path: Path) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        head = file.read(1024)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65536))
        return head, file.read()


def _cut_off(kind: str, tail: bytes) -> bool:
    """Whether a PNG lacks its IEND chunk or a JPEG its end mark: all pixels may be there, but the file is not whole."""
    return (kind == "PNG" and b"IEND\xaeB`\x82" not in tail) or (kind == "JPEG" and b"\xff\xd9" not in tail)


def _no_image(path: Path, head: bytes) -> str:
    start = head[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not an image (a download link that asked for a log-in or a click)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image itself"
    for kind, magic in (("PNG", b"\x89PNG\r\n"), ("JPEG", b"\xff\xd8\xff")):
        if head.startswith(magic):
            return f"truncated: no more than the beginning of a {kind}"
    if head and all(byte in (9, 10, 13) or 32 <= byte < 127 for byte in head):
        return f"a text file named {path.suffix}, not an image"
    return "not an image that can be read"


def examine_image(path: Path) -> tuple[Picture | None, list[Finding]]:
    """Really decode an image file; (None, [an error]) when it cannot be, else the picture and what else is odd about it."""
    from PIL import Image, UnidentifiedImageError

    name = str(path)
    if path.exists() and not path.is_file():
        return None, [Finding("error", name, "not a regular file", FETCH)]
    try:
        head, tail = _ends(path)
    except PermissionError:
        return None, [Finding("error", name, "no permission to read it", f"chmod u+r '{path}', or ask who owns it")]
    except OSError as error:
        return None, [Finding("error", name, f"cannot be read ({error.strerror})", FETCH)]
    if not head:
        return None, [Finding("error", name, "empty, zero bytes", FETCH)]
    try:
        with Image.open(path) as file:
            kind, mode = file.format, file.mode
    except UnidentifiedImageError:
        return None, [Finding("error", name, _no_image(path, head), FETCH)]
    except Exception as error:  # Pillow's readers raise many kinds on broken bytes
        return None, [Finding("error", name, f"truncated or broken header ({error})", FETCH)]
    if _cut_off(kind, tail):
        return None, [Finding("error", name, f"truncated: the end of the {kind} is missing", FETCH)]
    try:
        pixels = load_image(path)
    except ImageError as error:
        return None, [Finding("error", name, "truncated or broken: " + str(error).removeprefix(f"{path}: "), FETCH)]
    findings = []
    if mode != "RGB":
        advice = "it is read as RGB; make sure that it is the colour version of the set"
        findings.append(Finding("warning", name, f"stored as {mode}, not RGB", advice))
    if kind != SUFFIX_FORMATS.get(path.suffix.lower(), kind):
        findings.append(
            Finding("warning", name, f"holds {kind} under the name {path.suffix}", "perhaps a re-coded copy; compare its source")
        )
    digest = hashlib.blake2b(to_uint8(pixels).numpy().tobytes(), digest_size=16, salt=b"%dx%d" % tuple(pixels.shape[1:]))
    return Picture(pixels, digest.hexdigest()), findings


def leads_out(path: Path, base: Path) -> bool:
    """Whether `path`, links followed, lies outside the folder `base`."""
    return not path.resolve().is_relative_to(base.resolve())


def _escapes(name: str) -> bool:
    """Whether an archive's member would land outside the folder that it is unpacked into, on any system."""
    windows = PureWindowsPath(name)
    return name.startswith(("/", "\\")) or bool(windows.drive) or ".." in windows.parts


def _members(path: Path) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a link or a device) of every member of a zip or tar; nothing is unpacked."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                kind = stat.S_IFMT(item.external_attr >> 16)
                yield item.orig_filename, kind not in (0, stat.S_IFREG, stat.S_IFDIR)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                yield member.name, not (member.isfile() or member.isdir())


def is_archive(path: Path) -> bool:
    """Whether a file is one of the archives that `examine_archive` can look into, by its name."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"))


def examine_archive(path: Path) -> list[Finding]:
    """Look into a zip or tar without unpacking it: members that would leave the folder, links, a broken archive."""
    findings, count = [], 0
    try:
        for name, special in _members(path):
            count += 1
            if _escapes(name):
                wrong = f"the member {name!r} would be written outside the folder it is unpacked into"
                findings.append(Finding("error", str(path), wrong, "do not unpack it; fetch the archive from its home"))
            elif special:
                wrong = f"the member {name!r} is a link or a device"
                findings.append(Finding("error", str(path), wrong, "do not unpack it; fetch the archive from its home"))
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, ValueError) as error:
        return [*findings, Finding("error", str(path), f"broken archive ({error})", "download it again")]
    if not findings:
        findings.append(Finding("note", str(path), f"an archive of {count} members, nothing in it leads out", ""))
    return findings


def examine_tree(base: Path) -> list[Finding]:
    """Links that lead out or nowhere, archives, unfinished downloads and unreadable folders anywhere under `base`."""
    findings = []

    def unreadable(error: OSError) -> None:
        findings.append(Finding("error", str(error.filename), f"the folder cannot be read ({error.strerror})", "chmod u+rx it"))

    for folder, folders, files in os.walk(base, onerror=unreadable):
        for path in (Path(folder) / name for name in sorted(folders + files)):
            if path.is_symlink():
                if leads_out(path, base):
                    what = f"a link that leads out of the folder, to {os.readlink(path)}"
                    findings.append(Finding("error", str(path), what, "put the file itself there; what it leads to was not read"))
                elif not path.exists():
                    findings.append(Finding("error", str(path), f"a link to nothing ({os.readlink(path)})", "put the file itself there"))
            elif path.is_dir():
                continue
            elif is_archive(path):
                findings += examine_archive(path)
            elif path.name.lower().endswith(UNFINISHED):
                findings.append(Finding("warning", str(path), "an unfinished download", "run the download again, or delete it"))
            elif path.suffix.lower() not in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.stat().st_size:
                findings.append(Finding("warning", str(path), "empty, zero bytes", FETCH))
    return findings
