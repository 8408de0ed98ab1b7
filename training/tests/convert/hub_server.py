"""A hub on this machine: what `huggingface_hub` asks of one, over HTTP."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^/]+)")


class Hub:
    """A repository with a branch, `main`.

    Attributes:
        url: what HF_ENDPOINT is to be.
        commits: files by name, by commit, the newest last.
        asked: what was asked for, as "GET file".
        cut: bytes after which a download breaks off and is not taken up again; None lets all through.
    """

    def __init__(self, repository: str, url: str) -> None:
        self.repository, self.url = repository, url
        self.commits: dict[str, dict[str, Path]] = {}
        self.asked: list[str] = []
        self.cut: int | None = None

    def commit(self, files: dict[str, Path]) -> str:
        """A new state of the repository, files that are not named as before; returns its hash."""
        name = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits[name] = (list(self.commits.values())[-1] if self.commits else {}) | files
        return name

    def revision(self, name: str) -> str | None:
        """The commit of a branch or commit."""
        return list(self.commits)[-1] if name == "main" else name if name in self.commits else None


@contextmanager
def hub(repository: str) -> Iterator[Hub]:
    """A hub that answers until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, body: bool) -> None:
            found = RESOLVE.fullmatch(self.path)
            if found is None or found["repository"] != repository:
                return self.refuse("RepoNotFound")
            served.asked.append(f"{self.command} {found['file']}")
            commit = served.revision(found["revision"])
            if commit is None:
                return self.refuse("RevisionNotFound")
            path = served.commits[commit].get(found["file"])
            if path is None:
                return self.refuse("EntryNotFound")
            data = path.read_bytes()
            start = int(re.sub(r"bytes=(\d+)-", r"\1", self.headers.get("Range", "bytes=0-")))
            if served.cut is not None and body and start:
                return self.hang_up()
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if body:
                self.wfile.write(data[start : served.cut])
                if served.cut is not None:
                    self.hang_up()
            return None

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Hub(repository, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
