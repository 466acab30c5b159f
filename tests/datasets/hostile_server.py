"""A web server on the loopback that behaves as badly as it is told to, file by file, and remembers what it was asked."""

import gzip
import hashlib
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Manner:
    """How one file is served. `cuts`: bytes after which the 1st, 2nd ... answer is cut (None: not); later answers are whole unless
    `always_cut`. `length`: the Content-Length that is claimed (-1: none, the end is the closing). `content_range`: the one claimed in
    a 206. `flip`: number of a byte that is wrong. `pace`: seconds between pieces of `piece` bytes. `statuses`: answers before the good one.
    """

    content: bytes
    ranges: bool = True
    mark: dict = field(default_factory=lambda: {"ETag": '"first"'})
    cuts: list = field(default_factory=list)
    always_cut: int | None = None
    length: int | None = None
    content_range: str | None = None
    flip: int | None = None
    pace: float = 0.0
    piece: int = 1 << 14
    statuses: list = field(default_factory=list)
    headers: dict = field(default_factory=dict)
    packed: bool = False
    chunked: bool = False
    redirect: str | None = None
    ignore_if_range: bool = False


@dataclass
class Asked:
    """One request: its path, Range and If-Range, and how many bytes of body it was sent."""

    path: str
    range: str | None
    if_range: str | None
    accept_encoding: str | None
    sent: int = 0


class HostileServer:
    """`with HostileServer() as server: url = server.put("/a.zip", content, cuts=[100])`; `server.asked` lists the requests."""

    def __init__(self, context=None):
        self.files: dict[str, Manner] = {}
        self.asked: list[Asked] = []
        self.stop = threading.Event()
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hostile.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a client that went away is what the tests want
                pass

        self.http = Server(("127.0.0.1", 0), Handler)
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.scheme = "https" if context else "http"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.http.shutdown()
        self.http.server_close()

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.http.server_address[1]}{path}"

    def put(self, path: str, content: bytes, **manner) -> str:
        self.files[path] = Manner(content, **manner)
        return self.url(path)

    def bytes_sent(self) -> int:
        return sum(asked.sent for asked in self.asked)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        get = handler.headers.get
        asked = Asked(handler.path, get("Range"), get("If-Range"), get("Accept-Encoding"))
        number = sum(earlier.path == asked.path for earlier in self.asked)
        self.asked.append(asked)
        manner = self.files.get(handler.path)
        if manner is None:
            return self.plain(handler, 404)
        if manner.redirect:
            return self.plain(handler, 302, {"Location": manner.redirect})
        if number < len(manner.statuses):
            return self.plain(handler, manner.statuses[number], {"Retry-After": "0"})
        self.body(handler, manner, asked, number)

    def plain(self, handler, status: int, headers: dict | None = None) -> None:
        handler.send_response(status)
        for name, value in ({"Content-Length": "0"} | (headers or {})).items():
            handler.send_header(name, value)
        handler.end_headers()

    def body(self, handler, manner: Manner, asked: Asked, number: int) -> None:
        content, status, headers = manner.content, 200, dict(manner.mark)
        whole = len(content)
        if manner.flip is not None:
            content = content[: manner.flip] + bytes([content[manner.flip] ^ 1]) + content[manner.flip + 1 :]
        first = re.fullmatch(r"bytes=(\d+)-", asked.range or "")
        fresh = manner.ignore_if_range or asked.if_range is None or asked.if_range in manner.mark.values()
        if first and manner.ranges and fresh:
            start = int(first[1])
            if start >= whole:
                return self.plain(handler, 416, {"Content-Range": f"bytes */{whole}"})
            status, content = 206, content[start:]
            headers["Content-Range"] = manner.content_range or f"bytes {start}-{whole - 1}/{whole}"
        if manner.packed:
            content = gzip.compress(content)
            headers["Content-Encoding"] = "gzip"
        if manner.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif manner.length != -1:
            headers["Content-Length"] = str(len(content) if manner.length is None else manner.length)
        cut = manner.cuts[number] if number < len(manner.cuts) else manner.always_cut
        handler.send_response(status)
        for name, value in (headers | manner.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.close_connection = True
        self.send(handler, manner, asked, content if cut is None else content[:cut], ended=cut is None)

    def send(self, handler, manner: Manner, asked: Asked, content: bytes, ended: bool) -> None:
        for start in range(0, len(content), manner.piece):
            piece = content[start : start + manner.piece]
            asked.sent += len(piece)  # before it goes: the test may look as soon as it has come
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if manner.chunked else piece)
            if manner.pace and self.stop.wait(manner.pace):
                return
        if manner.chunked and ended:
            handler.wfile.write(b"0\r\n\r\n")


def silent_port() -> tuple[socket.socket, int]:
    """A listening socket that never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def closed_port() -> int:
    """A port of the loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(condition, seconds: float = 10.0) -> None:
    """Wait until `condition()` holds; fails the test when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
