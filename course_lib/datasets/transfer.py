"""One file over HTTP into its part: requests, ranges, new tries, and every trouble on the way in plain words.

`NAME.part` holds the bytes and `NAME.part.json` says which file of the server they belong to. Conditions and ranges: RFC 9110,
sections 13.1.5 (If-Range) and 14.
"""

import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from course_lib.datasets.unpack import archive_kind
from course_lib.paths import write_atomic

CHUNK = 1 << 18
MOST_REDIRECTS = 10
PROGRESS = 1 << 20  # a try that brought this many new bytes was no failure: the count of tries begins anew
LONGEST_PAUSE = 60.0
LATER = {408, 425, 429, 500, 502, 503, 504}  # answers that mean "not now"


class DownloadError(RuntimeError):
    """No file: the message says what happened, whether a part is kept, and what to do."""


class _Again(Exception):
    """The try failed in a way that another may not; `wait` is how long the server asked for, in seconds."""

    def __init__(self, why: str, wait: float | None = None):
        super().__init__(why)
        self.wait = wait


@dataclass
class Job:
    """One file on its way, and what is known about it."""

    url: str
    destination: Path
    size: int | None
    sums: dict[str, str]
    progress: bool
    timeout: float
    say: Callable[[str], None]
    received: int = 0  # bytes of this run

    @property
    def part(self) -> Path:
        return self.destination.with_name(self.destination.name + ".part")

    @property
    def note(self) -> Path:
        return self.destination.with_name(self.destination.name + ".part.json")

    def have(self) -> int:
        """Bytes of the part, however it came about."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def kept(self) -> dict:
        """The note of a part that can be gone on with: same address, and a mark of the server or a checksum that will tell."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            fits = note["url"] == self.url and (note["mark"] or self.sums) and self.have() > 0
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return note if fits else {}

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def may_be_page(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm", ".xhtml")


def rest(job: Job) -> str:
    """What is left of the try, for the end of an error message."""
    if job.kept():
        return f"; {job.have() / 1e6:.1f} MB are kept in {job.part}: run again to go on from there"
    return "; run again to start anew"


def transfer(job: Job, retries: int, pause: float) -> None:
    """Try until the part is complete, `retries` times in a row without PROGRESS at most."""
    import requests

    best, failures = job.have(), 0
    with requests.Session() as session:
        session.max_redirects = MOST_REDIRECTS
        # identity: a packed transfer would make the bytes on the way other than those of the file
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "course-lib"})
        while True:
            try:
                return _try(job, session)
            except _Again as trouble:
                if job.have() >= best + PROGRESS:
                    best, failures = job.have(), 0
                failures += 1
                if failures > retries:
                    raise DownloadError(f"{job.destination.name}: {trouble}; gave up after {failures} tries{rest(job)}") from trouble
                wait = min(trouble.wait if trouble.wait is not None else pause * 2 ** (failures - 1), LONGEST_PAUSE)
                job.say(f"{job.destination.name}: {trouble}; new try {failures} of {retries} in {wait:.3g} s")
                time.sleep(wait)


def _try(job: Job, session) -> None:
    """One request: goes on with the part if there is one; returns when all is there. Raises _Again or DownloadError."""
    note = job.kept()
    start = job.have() if note else 0
    total = job.size if job.size is not None else note.get("total")
    if start and total is not None and start >= total:
        if start == total:
            return
        job.drop()
        start, note = 0, {}
    headers = {}
    if start:
        headers = {"Range": f"bytes={start}-"} | ({"If-Range": note["mark"]} if note["mark"] else {})
    with _opened(job, session, headers) as answer:
        if answer.status_code == 416 and start:
            if _numbers(answer)[2] == start:
                return  # the part is all that the server has
            job.drop()
            raise _Again("the part does not fit the server's file, starting over", 0)
        _refuse_what_is_no_file(job, answer)
        if answer.status_code == 206:
            end = _goes_on(job, answer, start, note)
        else:
            end = _starts_over(job, answer, start)
            start = 0
        _receive(job, answer, start, end)


def _opened(job: Job, session, headers: dict):
    """The answer to a GET, its body still to be read; the errors of the way there in plain words."""
    import requests

    host = urlsplit(job.url).hostname
    name = job.destination.name
    try:
        return session.get(job.url, headers=headers, stream=True, timeout=job.timeout)
    except requests.TooManyRedirects as error:
        raise DownloadError(f"{name}: {job.url} leads in circles (over {MOST_REDIRECTS} redirects){rest(job)}") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema) as error:
        raise DownloadError(f"{name}: not an address that can be downloaded from ({error})") from error
    except requests.RequestException as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                advice = "check the computer's clock, and whether a proxy reads the traffic; nothing was downloaded"
                raise DownloadError(f"{name}: the certificate of {host} was not accepted ({cause.verify_message}): {advice}") from error
        gone = "cannot find" if any(isinstance(cause, socket.gaierror) for cause in causes) else None
        gone = gone or ("no answer from" if any(isinstance(cause, ConnectionRefusedError) for cause in causes) else None)
        if gone and not job.received:  # in the middle of a download it is worth another try, at its beginning it is not
            raise DownloadError(f"{name}: {gone} {host}; check the network, or the server is gone ({job.url}){rest(job)}") from error
        if isinstance(error, requests.Timeout):
            raise _Again(f"{host} said nothing for {job.timeout:g} s") from error
        raise _Again(f"no connection to {host} ({causes[-1]})") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that led to it; requests and urllib3 wrap the true one several times."""
    seen = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = inner or error.__cause__ or error.__context__


def _numbers(answer) -> tuple[int | None, int | None, int | None]:
    """(first, last, total) of a Content-Range; None for what it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
    return tuple(int(part) if part and part != "*" else None for part in match.groups()) if match else (None, None, None)


def _length(answer) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _coding(answer) -> str:
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    return "" if coding == "identity" else coding


def _refuse_what_is_no_file(job: Job, answer) -> None:
    status, name = answer.status_code, job.destination.name
    if status in LATER:
        text = answer.headers.get("Retry-After", "")
        raise _Again(f"the server answers {status} {answer.reason}", float(text) if text.isdigit() else None)
    if status not in (200, 206) or status == 206 and "Range" not in answer.request.headers:
        raise DownloadError(f"{name}: the server answers {status} {answer.reason} to {job.url}{rest(job)}")
    if job.url.startswith("https:") and answer.url.startswith("http:") and not job.sums:
        raise DownloadError(f"{name}: {job.url} leads to an address without encryption ({answer.url}), and no checksum is known")
    if answer.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")) and not may_be_page(job.destination):
        advice = f"perhaps a quota, a log-in or a consent: open {answer.url} in a browser"
        raise DownloadError(f"{name}: the server sent a web page instead of the file, {advice}{rest(job)}")


def _goes_on(job: Job, answer, start: int, note: dict) -> int:
    """The end of a 206 answer that fits the part. Raises _Again, and drops the part, when it does not."""
    first, last, total = _numbers(answer)
    expected = job.size if job.size is not None else note.get("total")
    same = first == start and last is not None and last >= start and _length(answer) in (None, last - start + 1)
    if None not in (total, expected):
        same = same and total == expected
    mark = _mark(answer)
    if mark and note["mark"] and mark.startswith('"') == note["mark"].startswith('"'):  # two tags or two dates
        same = same and mark == note["mark"]
    if not same or _coding(answer):
        job.drop()
        raise _Again(f"the server sent another piece than bytes {start} and on, starting over", 0)
    return last + 1


def _mark(answer) -> str | None:
    """What tells this version of the file from another: a strong ETag, else the date (RFC 9110: a weak one must not be used)."""
    etag = answer.headers.get("ETag", "").strip()
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified") or None


def _starts_over(job: Job, answer, start: int) -> int | None:
    """Begin the part anew for a 200 answer; the bytes that it will have, or None. Raises DownloadError when they cannot be right."""
    length = None if _packed(job, answer) else _length(answer)
    if None not in (length, job.size) and length != job.size:
        advice = f"it was changed or is not the file ({job.url})"
        raise DownloadError(f"{job.destination.name}: the server has {length} bytes where {job.size} are known, {advice}{rest(job)}")
    ends = length is not None or "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    if not ends and job.size is None and not job.sums and archive_kind(job.destination) is None:
        raise DownloadError(f"{job.destination.name}: neither the server nor the catalogue says how long it is; a cut would not be seen")
    needed, free = (length or job.size or 0), shutil.disk_usage(job.part.parent).free + job.have()
    if needed > free:
        reason = f"{needed / 1e6:.0f} MB do not fit in {job.part.parent} ({free / 1e6:.0f} MB free)"
        raise DownloadError(f"{job.destination.name}: {reason}; make room and run again")
    if start:
        job.say(f"{job.destination.name}: the server cannot go on where the part ends, or has a new file; starting over")
    job.drop()
    job.part.touch()
    if not _packed(job, answer):  # the part of a packed transfer cannot be gone on with: it has no note
        note = {"url": job.url, "mark": _mark(answer), "total": length}
        write_atomic(job.note, json.dumps(note))
    return length if length is not None else job.size


def _packed(job: Job, answer) -> bool:
    """Whether the transfer is packed though it was asked not to be; a .gz is often labelled so, and then is the file itself."""
    coding = _coding(answer)
    return bool(coding) and not (coding in ("gzip", "x-gzip") and job.destination.name.lower().endswith((".gz", ".tgz")))


def _receive(job: Job, answer, start: int, end: int | None) -> None:
    """Append the body to the part until `end` bytes are there. Raises _Again when fewer come, DownloadError when more do."""
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    packed = _packed(job, answer)
    # read1 hands over what has come; read waits for a whole chunk, which a slow server takes minutes for
    read = answer.raw.read if packed or not hasattr(answer.raw, "read1") else answer.raw.read1
    bar = tqdm(total=end, initial=start, unit="B", unit_scale=True, desc=job.destination.name, disable=not job.progress, mininterval=0.5)
    with open(job.part, "ab") as file, bar:
        while True:
            try:
                data = read(CHUNK, decode_content=packed)
            except ReadTimeoutError as error:
                raise _Again(f"nothing came for {job.timeout:g} s") from error
            except HTTPError as error:
                raise _Again(f"the connection was cut after {start} of {end or 'an unknown number of'} bytes") from error
            if not data:
                break
            start += len(data)
            if end is not None and start > end:
                job.drop()
                raise DownloadError(f"{job.destination.name}: the server sends more than the {end} bytes of the file ({job.url})")
            file.write(data)
            file.flush()  # what was received outlives a kill
            job.received += len(data)
            bar.update(len(data))
    total = job.size if job.size is not None else end
    if total is not None and start < total:
        raise _Again(f"only {start} of {total} bytes came")
