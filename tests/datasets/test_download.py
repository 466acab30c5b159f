"""Downloads from a server that cuts, lies, stalls and disappears: the right file or a clear error, never a broken file."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import zipfile
from types import SimpleNamespace

import pytest
from hostile_server import HostileServer, closed_port, sha256, silent_port, wait_for

from course_lib.datasets.download import DownloadError, PersonNeeded, download, fetch

CONTENT = random.Random(0).randbytes(300_000)
SUM = sha256(CONTENT)
KNOWN = {"bytes": len(CONTENT), "sha256": SUM}


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


ZIP = zipped({f"images/{n}.bin": CONTENT[n * 1000 : n * 1000 + 50_000] for n in range(4)})


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HostileServer() as server:
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set.bin"


@pytest.fixture
def get(target):
    """`get(url, **known)` downloads to `target`, quickly; `get.said` holds the lines."""

    def run(url, destination=target, **options):
        return download(url, destination, **({"progress": False, "pause": 0.001, "timeout": 5, "say": run.said.append} | options))

    run.said = []
    return run


def refused(get, target, match, *arguments, **options):
    with pytest.raises(DownloadError, match=match) as caught:
        get(*arguments, **options)
    assert not target.exists()
    assert target.name in str(caught.value)
    return str(caught.value)


def part_of(target):
    return target.with_name(target.name + ".part")


def tidy(target):
    """Nothing but the file is left: no part, no note, no lock."""
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("known", [KNOWN, {"md5": hashlib.md5(CONTENT).hexdigest()}, {"bytes": len(CONTENT)}, {}])
def test_the_plain_case(server, get, target, known):
    assert get(server.put("/a", CONTENT), **known) == target
    assert target.read_bytes() == CONTENT and tidy(target)
    assert any("no checksum known" in line for line in get.said) == ("sha256" not in known and "md5" not in known)
    get(server.url("/a"), **known)
    assert len(server.asked) == 1 and server.asked[0].accept_encoding == "identity"


def test_cut_half_way_goes_on_in_the_same_run(server, get, target):
    get(server.put("/a", CONTENT, cuts=[100_000, 50_000]), **KNOWN)
    assert target.read_bytes() == CONTENT and tidy(target)
    assert [asked.range for asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.asked[1].if_range == '"first"' and server.bytes_sent() == len(CONTENT)


DATE = "Tue, 01 Jan 2019 10:00:00 GMT"


@pytest.mark.parametrize("mark", [{"ETag": '"x"'}, {"Last-Modified": DATE}, {"ETag": 'W/"x"', "Last-Modified": DATE}, {}])
def test_second_run_asks_for_the_missing_bytes_only(server, get, target, mark):
    url = server.put("/a", CONTENT, cuts=[123_456], mark=mark)
    message = refused(get, target, "gave up after 1 tries.*run again to go on", url, retries=0, **KNOWN)
    assert str(part_of(target)) in message and part_of(target).read_bytes() == CONTENT[:123_456]
    get(url, **KNOWN)
    assert target.read_bytes() == CONTENT and tidy(target)
    assert server.asked[1].range == "bytes=123456-" and server.asked[1].sent == len(CONTENT) - 123_456
    assert server.asked[1].if_range == next((value for value in mark.values() if not value.startswith("W/")), None)


def test_without_mark_and_checksum_nothing_is_gone_on_with(server, get, target):
    get(server.put("/a", CONTENT, cuts=[1000], mark={}), bytes=len(CONTENT))
    assert target.read_bytes() == CONTENT and [asked.range for asked in server.asked] == [None, None]


def test_always_cut_without_ranges_ends(server, get, target):
    url = server.put("/a", CONTENT, ranges=False, always_cut=150_000)
    refused(get, target, "only 150000 of 300000 bytes|cut after 150000 of 300000", url, retries=3, **KNOWN)
    assert len(server.asked) == 4 and part_of(target).stat().st_size == 150_000
    assert "new try 1 of 3" in get.said[0]


def test_many_cuts_that_bring_much_are_no_failures(server, get, target):
    content = random.Random(1).randbytes(5 << 20)
    get(server.put("/a", content, always_cut=(1 << 20) + 1, piece=1 << 20), retries=1, sha256=sha256(content))
    assert target.read_bytes() == content and len(server.asked) == 5 and server.bytes_sent() == len(content)


def test_range_ignored_starts_over(server, get, target):
    get(server.put("/a", CONTENT, ranges=False, cuts=[100_000]), **KNOWN)
    assert target.read_bytes() == CONTENT and any("starting over" in line for line in get.said)


@pytest.mark.parametrize("known", [True, False])
def test_file_changed_between_two_runs(server, get, target, known):
    refused(get, target, "gave up", server.put("/a", CONTENT, cuts=[100_000]), retries=0)
    new = CONTENT[::-1]
    get(server.put("/a", new, mark={"ETag": '"second"'}), **({"sha256": sha256(new)} if known else {}))
    assert target.read_bytes() == new


def test_changed_file_and_a_server_that_does_not_heed_if_range(server, get, target):
    refused(get, target, "gave up", server.put("/a", CONTENT, cuts=[100_000]), retries=0)
    new = CONTENT[::-1]
    get(server.put("/a", new, mark={"ETag": '"second"'}, ignore_if_range=True))
    assert target.read_bytes() == new and [asked.range for asked in server.asked] == [None, "bytes=100000-", None]


@pytest.mark.parametrize("wrong", ["bytes 0-299999/300000", "bytes 100000-299999/300001", "bytes 99999-299998/300000", "rows 1-2/3", ""])
def test_wrong_content_range_is_refused(server, get, target, wrong):
    get(server.put("/a", CONTENT, cuts=[100_000], content_range=wrong or " "), **KNOWN)
    assert target.read_bytes() == CONTENT and any("another piece" in line for line in get.said)
    assert [asked.range for asked in server.asked] == [None, "bytes=100000-", None]


def test_416_when_the_part_is_all_there_is(server, get, target):
    url = server.put("/a", CONTENT, length=len(CONTENT) + 1000)
    get(url, sha256=SUM)  # claims 1000 bytes too many, then says that there are no more
    assert target.read_bytes() == CONTENT and server.asked[1].range == "bytes=300000-" and server.bytes_sent() == len(CONTENT)


def test_416_when_the_file_became_shorter(server, get, target):
    refused(get, target, "gave up", server.put("/a", CONTENT, cuts=[200_000]), retries=0)
    get(server.put("/a", CONTENT[:1000]), sha256=sha256(CONTENT[:1000]))
    assert target.read_bytes() == CONTENT[:1000]


def test_part_longer_than_the_file_is_thrown_away(server, get, target):
    url = server.put("/a", CONTENT)
    part_of(target).write_bytes(CONTENT + b"more")
    target.with_name("set.bin.part.json").write_text(json.dumps({"url": url, "mark": '"first"', "total": len(CONTENT)}))
    get(url, **KNOWN)
    assert target.read_bytes() == CONTENT and tidy(target) and server.asked[0].range is None


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"url": "elsewhere", "mark": "\\"x\\"", "total": 3}'])
def test_part_of_unknown_origin_is_not_gone_on_with(server, get, target, note):
    part_of(target).write_bytes(b"foreign")
    target.with_name("set.bin.part.json").write_text(note)
    get(server.put("/a", CONTENT), **KNOWN)
    assert target.read_bytes() == CONTENT and server.asked[0].range is None


@pytest.mark.parametrize("flip", [0, 150_000, 299_999])
def test_wrong_byte(server, get, target, flip):
    url = server.put("/a", CONTENT, flip=flip)
    message = refused(get, target, "wrong checksum: sha256 is", url, **KNOWN)
    assert SUM in message and "run again to download it anew" in message and not part_of(target).exists()
    get(server.put("/a", CONTENT), **KNOWN)
    assert target.read_bytes() == CONTENT and server.asked[1].range is None


def test_wrong_byte_in_a_zip_without_checksum(server, get, tmp_path):
    target = tmp_path / "set.zip"
    refused(get, target, "broken archive", server.put("/a", ZIP, flip=5000), target)
    assert not part_of(target).exists()
    get(server.put("/a", ZIP), target)
    assert target.read_bytes() == ZIP and any("no checksum known; size and archive integrity checked" in line for line in get.said)


@pytest.mark.parametrize("length", [250_000, 350_000])
def test_a_length_that_is_not_the_catalogues_is_refused(server, get, target, length):
    refused(get, target, f"the server has {length} bytes where 300000 are known", server.put("/a", CONTENT, length=length), **KNOWN)
    assert not part_of(target).exists()


def test_a_length_too_short_without_catalogue_is_seen_in_the_zip(server, get, tmp_path):
    target = tmp_path / "set.zip"
    refused(get, target, "not a whole zip", server.put("/a", ZIP, length=len(ZIP) - 100), target)


def test_a_length_too_long_without_ranges_is_an_error(server, get, target):
    url = server.put("/a", CONTENT, length=len(CONTENT) + 7, ranges=False)
    refused(get, target, "300000 of 300007", url, retries=1)


@pytest.mark.parametrize("manner", [{"chunked": True}, {"length": -1}])
def test_no_length_at_all(server, get, target, manner):
    get(server.put("/a", CONTENT, cuts=[100_000], **manner), **KNOWN)
    assert target.read_bytes() == CONTENT and server.bytes_sent() == len(CONTENT)


def test_more_bytes_than_the_catalogue_says(server, get, target):
    refused(get, target, "more than the 1000 bytes", server.put("/a", CONTENT, length=-1), bytes=1000)
    assert not part_of(target).exists()


def test_nothing_known_and_no_length_is_refused(server, get, target):
    refused(get, target, "a cut would not be seen", server.put("/a", CONTENT, length=-1, cuts=[1000]))


def test_redirects(server, get, target):
    server.put("/a", CONTENT, cuts=[100_000])
    get(server.put("/there", b"", redirect="/a"), **KNOWN)
    assert target.read_bytes() == CONTENT and server.asked[3].range == "bytes=100000-"
    os.remove(target)
    refused(get, target, "leads in circles", server.put("/loop", b"", redirect="/loop"))
    assert len(server.asked) < 20
    refused(get, target, "not an address", server.put("/ftp", b"", redirect="ftp://127.0.0.1/a"))


@pytest.mark.parametrize("status", [401, 403, 404, 410, 501])
def test_no_is_no(server, get, target, status):
    refused(get, target, f"answers {status}", server.put("/a", CONTENT, statuses=[status]))
    assert len(server.asked) == 1


def test_not_now_is_asked_again(server, get, target):
    get(server.put("/a", CONTENT, statuses=[503, 429, 500]), **KNOWN)
    assert target.read_bytes() == CONTENT and "503" in get.said[0]


def test_a_206_nobody_asked_for(server, get, target):
    refused(get, target, "answers 206", server.put("/a", CONTENT, statuses=[206]))


def test_slow_server_with_progress(server, get, target, capsys):
    get(server.put("/a", CONTENT, pace=0.03), progress=True, timeout=0.5, **KNOWN)
    assert target.read_bytes() == CONTENT and len(server.asked) == 1
    shown = capsys.readouterr().err
    assert "set.bin" in shown and "300k/300k" in shown


def test_stalled_server_is_left_and_gone_on_with(server, get, target):
    url = server.put("/a", CONTENT, pace=30, piece=200_000)
    refused(get, target, "nothing came for 0.2 s.*run again to go on", url, timeout=0.2, retries=0, **KNOWN)
    assert part_of(target).stat().st_size == 200_000
    get(server.put("/a", CONTENT), **KNOWN)
    assert target.read_bytes() == CONTENT and server.asked[1].sent == 100_000


def test_a_server_that_never_answers(get, target):
    listener, port = silent_port()
    with listener:
        refused(get, target, "127.0.0.1 said nothing for 0.1 s", f"http://127.0.0.1:{port}/a", timeout=0.1, retries=1)


def test_gone(get, target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.invalid")
    message = refused(get, target, "no answer from 127.0.0.1", f"http://127.0.0.1:{closed_port()}/a")
    assert "\n" not in message and get.said == []
    message = refused(get, target, "cannot find no-such-server.invalid", "http://no-such-server.invalid/a")
    assert "\n" not in message and get.said == []
    refused(get, target, "not an address", "no address")


def test_server_dies_half_way(get, target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HostileServer() as server:
        url = server.put("/a", CONTENT, cuts=[100_000])
        refused(get, target, "run again to go on", url, retries=0, **KNOWN)
    refused(get, target, "no answer from.*0.1 MB are kept.*run again to go on", url, **KNOWN)
    assert part_of(target).read_bytes() == CONTENT[:100_000]


def test_a_web_page_is_not_the_file(server, get, target):
    page = b"<!DOCTYPE html><html><body>Quota exceeded</body></html>"
    url = server.put("/a", CONTENT, cuts=[100_000])
    refused(get, target, "gave up", url, retries=0)
    server.put("/a", page, ranges=False, headers={"Content-Type": "text/html; charset=utf-8"})
    refused(get, target, "a web page instead of the file.*in a browser", url)
    assert part_of(target).stat().st_size == 100_000  # a quota page must not cost what was there
    part_of(target).unlink()
    refused(get, target, "a web page, not the file", server.put("/b", page))


@pytest.mark.parametrize("chunked", [True, False])
def test_packed_though_not_asked_for(server, get, target, chunked):
    text = b"0123456789" * 50_000
    get(server.put("/a", text, packed=True, chunked=chunked), bytes=len(text), sha256=sha256(text))
    assert target.read_bytes() == text


def test_packed_and_cut_starts_over(server, get, target):
    get(server.put("/a", CONTENT, packed=True, cuts=[100_000]), **KNOWN)
    assert target.read_bytes() == CONTENT and [asked.range for asked in server.asked] == [None, None]


def test_packed_pieces_are_not_joined(server, get, target):
    refused(get, target, "gave up", server.put("/a", CONTENT, cuts=[100_000]), retries=0, **KNOWN)
    get(server.put("/a", CONTENT, packed=True, chunked=True), **KNOWN)
    assert target.read_bytes() == CONTENT and [asked.range for asked in server.asked] == [None, "bytes=100000-", None]


def test_a_gz_labelled_as_packed_stays_as_it_is(server, get, tmp_path):
    target = tmp_path / "a.tar.gz"
    get(server.put("/a", CONTENT, headers={"Content-Encoding": "x-gzip"}), target, **KNOWN)
    assert target.read_bytes() == CONTENT


def test_what_is_there_is_checked_and_never_overwritten(server, get, target):
    target.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="already there, but it has 4 bytes.*move it away"):
        get(server.put("/a", CONTENT), **KNOWN)
    assert target.read_bytes() == b"mine" and server.asked == []


def test_a_file_where_a_folder_is_needed(server, get, tmp_path):
    (tmp_path / "sets").write_text("a file")
    with pytest.raises(DownloadError, match="sets is a file"):
        get(server.put("/a", CONTENT), tmp_path / "sets" / "a.bin")


def test_no_room(server, get, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    refused(get, target, "0 MB do not fit in", server.put("/a", CONTENT), **KNOWN)


def script(url, target, prelude=""):
    """A process of its own that downloads, as `course data get` does."""
    code = f"""
        import sys
        from course_lib.datasets.download import download, DownloadError
        {prelude}
        say = lambda line: print(line, flush=True)
        try:
            download({url!r}, {str(target)!r}, bytes={len(CONTENT)}, sha256={SUM!r}, progress=False, say=say)
        except DownloadError as error:
            sys.exit(f"error: {{error}}")
    """
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=-1, stderr=-1, text=True, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_disk_full(server, get, target):
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    _, errors = script(server.put("/a", CONTENT), target, prelude).communicate(timeout=30)
    assert "cannot write in" in errors and str(target.parent) in errors and "run again to go on" in errors and "Traceback" not in errors
    assert not target.exists() and part_of(target).stat().st_size == 200_000
    get(server.url("/a"), **KNOWN)
    assert target.read_bytes() == CONTENT and server.asked[1].range == "bytes=200000-"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGINT"])
def test_killed_half_way_and_run_again(server, get, target, blow):
    url = server.put("/a", CONTENT, pace=30, piece=200_000)
    prelude = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = script(url, target, prelude)
    wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size == 200_000, 30)
    process.send_signal(getattr(signal, blow))
    said, _ = process.communicate(timeout=10)
    assert process.returncode and not target.exists()
    assert blow == "SIGKILL" or "stopped; 0.2 MB are kept" in said
    get(server.put("/a", CONTENT), **KNOWN)
    assert target.read_bytes() == CONTENT and tidy(target)
    assert server.asked[1].range == "bytes=200000-" and server.asked[1].sent == 100_000


def test_two_processes_at_once(server, target):
    url = server.put("/a", CONTENT, pace=0.05)
    first, second = script(url, target), script(url, target)
    said = first.communicate(timeout=30)[0] + second.communicate(timeout=30)[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert target.read_bytes() == CONTENT and len(server.asked) == 1 and "already there" in said


def test_many_threads_at_once(server, get, target):
    url = server.put("/a", CONTENT, cuts=[50_000])
    threads = [threading.Thread(target=get, args=(url,), kwargs=KNOWN) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert target.read_bytes() == CONTENT and tidy(target) and server.bytes_sent() == len(CONTENT)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl for a certificate")
def test_certificates(get, target, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    made = [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HostileServer(context) as secure, HostileServer() as plain:
        url = secure.put("/a", CONTENT)
        message = refused(get, target, "certificate of 127.0.0.1 was not accepted", url, **KNOWN)
        assert "\n" not in message and get.said == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        down = secure.put("/down", b"", redirect=plain.put("/a", CONTENT))
        refused(get, target, "without encryption", down)
        get(down, **KNOWN)  # the checksum tells
        get(url, target.with_name("other.bin"), **KNOWN)
        assert target.read_bytes() == target.with_name("other.bin").read_bytes() == CONTENT


def test_any_mixture_of_troubles_gives_the_file_or_an_error(server, get, tmp_path):
    """Random manners, two runs each: what stands at the destination is the file, or nothing does."""
    arrived = 0
    for seed in range(60):
        draw = random.Random(seed)
        content = draw.randbytes(draw.choice([0, 1, 4096, 100_001]))
        manner = {
            "ranges": draw.random() < 0.7,
            "mark": draw.choice([{"ETag": '"e"'}, {"Last-Modified": "then"}, {}]),
            "cuts": [draw.choice([None, draw.randint(0, len(content))]) for _ in range(3)],
            "length": draw.choice([None, None, None, -1, len(content) + 3, max(len(content) - 3, 0)]),
            "content_range": draw.choice([None, None, None, "bytes 0-9/10"]),
            "flip": draw.choice([None, None, None, draw.randrange(len(content)) if content else None]),
            "statuses": draw.choice([[], [], [500], [404]]),
            "chunked": draw.random() < 0.2,
        }
        known = {"sha256": sha256(content)} | draw.choice([{}, {"bytes": len(content)}])
        target = tmp_path / f"{seed}.bin"
        url = server.put(f"/{seed}", content, **manner)
        for _ in range(2):
            try:
                get(url, target, retries=2, **known)
            except DownloadError:
                assert not target.exists()
        if target.exists():
            assert target.read_bytes() == content and not part_of(target).exists()
            arrived += 1
    assert 30 < arrived < 60


def entry(**fields):
    return SimpleNamespace(**({"name": "Set", "how": "direct", "folder": "Set", "steps": "", "files": []} | fields))


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_fetch_a_set_of_one_archive(server, tmp_path):
    said = []
    item = {"url": server.put("/x.zip", ZIP), "bytes": len(ZIP), "sha256": sha256(ZIP), "md5": "", "unpack": True, "name": "x.zip"}
    for _ in range(2):
        assert fetch(entry(files=[item]), tmp_path, progress=False, say=said.append) == tmp_path / "Set"
    assert files_in(tmp_path / "Set") == {f"{n}.bin" for n in range(4)}
    assert (tmp_path / "Set" / "2.bin").read_bytes() == CONTENT[2000:52_000]
    assert len(server.asked) == 1 and "already there" in said[-1]
    assert files_in(tmp_path / ".downloads") == set()


def test_fetch_a_set_of_several_files_goes_on_where_it_failed(server, tmp_path):
    files = [{"url": server.put(f"/{name}.zip", zipped({"a.bin": name.encode()})), "unpack": True} for name in ("train", "valid")]
    files += [{"url": server.url("/list.txt"), "unpack": False, "name": "list.txt"}]
    with pytest.raises(DownloadError, match="404"):
        fetch(entry(files=files), tmp_path, False, print)
    assert not (tmp_path / "Set").exists()
    server.put("/list.txt", b"list")
    fetch(entry(files=files), tmp_path, False, print)
    assert files_in(tmp_path / "Set") == {"train/a.bin", "valid/a.bin", "list.txt"}
    assert [asked.path for asked in server.asked] == ["/train.zip", "/valid.zip", "/list.txt", "/list.txt"]


def test_fetch_two_splits_of_one_name(server, tmp_path, monkeypatch):
    """What a killed run left of one split must not be taken for the other."""
    parts = []
    for split in ("train", "test"):
        item = {"url": server.put(f"/{split}.zip", zipped({"a.bin": split.encode()})), "name": f"{split}.zip", "unpack": True}
        parts.append(entry(folder=f"Set/{split}", files=[item]))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("course_lib.datasets.download._move", interrupt)
        fetch(parts[0], tmp_path, False, print)
    fetch(parts[1], tmp_path, False, print)
    assert files_in(tmp_path / "Set") == {"test/a.bin"} and (tmp_path / "Set/test/a.bin").read_bytes() == b"test"
    fetch(parts[0], tmp_path, False, print)
    assert (tmp_path / "Set/train/a.bin").read_bytes() == b"train" and len(server.asked) == 2


def interrupt(*_):
    raise KeyboardInterrupt


def test_fetch_leaves_the_users_folder_alone_and_asks_a_person(server, tmp_path):
    with pytest.raises(PersonNeeded) as caught:
        fetch(entry(how="person", steps="Fill in the form at the home page."), tmp_path, False, print)
    assert "Fill in the form" in str(caught.value) and str(tmp_path / "Set") in str(caught.value)
    (tmp_path / "Set").mkdir()
    (tmp_path / "Set" / "mine.png").write_bytes(b"mine")
    said = []
    assert fetch(entry(files=[{"url": server.url("/no")}]), tmp_path, False, said.append) == tmp_path / "Set"
    assert server.asked == [] and files_in(tmp_path / "Set") == {"mine.png"} and "already there" in said[0]
