"""A small Hugging Face Hub on this machine alone, for tests: python -m tests.hub.server FOLDER

It speaks what the real ``huggingface_hub`` client needs to push and to pull. The first line of its output is its
address; it ends when its standard input is closed. Not here: Xet (clients must have HF_HUB_DISABLE_XET=1), multipart
LFS, pull requests, quotas and spaces. Data sets can only be read.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from tests.hub.faults import NO_FAULT, Fault, Faults
from tests.hub.request import Answer, Part, Request, User
from tests.hub.routes import ROUTES, UNLOCKED
from tests.hub.store import Refusal, Store

USERS = {"hf_test": User("tester"), "hf_read": User("tester", "read"), "hf_other": User("other")}  # by their tokens
_PIECE = 64 * 1024


class HubServer(ThreadingHTTPServer):
    """The server with its state: repositories, faults, the log of requests, plain pages beside the Hub's own."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.faults, self.lock = Store(root), Faults(), threading.RLock()
        self.log: list[dict[str, object]] = []
        self.pages: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cdn_url = f"http://localhost:{self.server_port}"  # the same server, but another origin

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; a bug of this server is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _HangUp(Exception):  # noqa: N818 - the client sees no error, but an end
    """Close the connection without (the rest of) an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server: HubServer

    def do_GET(self) -> None:
        url, token = urlsplit(self.path), self.headers.get("Authorization", "").removeprefix("Bearer ")
        control = url.path.startswith("/_control/")  # never faulty, never logged
        user = USERS.get(token)
        self.unread, self.sent = True, None  # type: bool, int | None
        self.fault = NO_FAULT if control else self.server.faults.next(f"{self.command} {self.path}")
        try:
            try:
                self._fail_first()
                if token and not user:
                    raise Refusal(401, "Invalid credentials in Authorization header")
                self._reply(self._control(url.path) if control else self._work(url.path, url.query, user))
            except Refusal as refused:
                self._reply(Answer({"error": refused.message}, refused.status, refused.headers))
        except (_HangUp, BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            if not control:
                self._note(bool(token), user)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names are http.server's

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is data."""

    def _work(self, path: str, query: str, user: User | None) -> Answer:
        """Find the route and do what it says; content is moved outside of the lock."""
        if path in self.server.pages:
            return Answer(self.server.pages[path], headers={"Content-Type": "application/octet-stream"})
        for methods, pattern, route in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods.split("|"):
                server, wanted = self.server, self.headers.get("Range", "")
                ask = Request(server.store, user, self.command, query, wanted, server.url, server.cdn_url, self._body)
                with nullcontext() if route in UNLOCKED else server.lock:
                    return route(
                        ask, **{name: unquote(text) if text else text for name, text in match.groupdict().items()}
                    )
        raise Refusal(404, f"Not a route of this test Hub: {self.command} {path}")

    def _body(self) -> Iterator[bytes]:
        self.unread, left = False, int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(_PIECE, left))
            if not piece:
                raise _HangUp
            left -= len(piece)
            yield piece

    def _fail_first(self) -> None:
        fault = self.fault
        if fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault.kind == "status":
            raise Refusal(fault.status, fault.message, fault.code, fault.headers)
        elif fault.kind == "drop":
            self.rfile.read(fault.after or 0)
            raise _HangUp

    def _reply(self, answer: Answer) -> None:
        for _ in self._body() if self.unread else ():  # what nobody read would be taken for the next request
            pass
        fault = self.fault
        if fault.kind == "lost":
            raise _HangUp
        source, length = _opened(answer.body)
        if fault.kind == "short":
            length = max(0, length - fault.by)
        self.sent = answer.status
        self.send_response_only(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(length)}
        for name, value in headers.items():
            self.send_header(name, value.replace("\n", " "))
        self.end_headers()
        with source:
            if self.command != "HEAD":
                self._send(source, length, fault)

    def _send(self, source: BinaryIO, length: int, fault: Fault) -> None:
        middle = length // 2
        stop = min(length, middle if fault.after is None else fault.after) if fault.kind == "truncate" else length
        flip = (middle if fault.at is None else fault.at) if fault.kind == "corrupt" else -1
        throttled, done = fault.kind == "throttle", 0
        while done < stop:
            piece = bytearray(source.read(min(4096 if throttled else _PIECE, stop - done)))
            if done <= flip < done + len(piece):
                piece[flip - done] ^= 1
            self.wfile.write(piece)
            done += len(piece)
            if throttled:
                time.sleep(len(piece) / fault.rate)
        if fault.kind == "truncate":
            raise _HangUp

    def _note(self, auth: bool, user: User | None) -> None:
        """Remember the request: users by name, and no token."""
        asked = {"method": self.command, "path": self.path, "status": self.sent}
        who = {"auth": auth, "user": user.name if user else None, "host": self.headers.get("Host")}
        fault = None if self.fault is NO_FAULT else self.fault.kind
        agent = self.headers.get("User-Agent")
        self.server.log.append({**asked, **who, "range": self.headers.get("Range"), "agent": agent, "fault": fault})

    def _control(self, path: str) -> Answer:
        """What a test asks for; see the class Hub of tests/conftest.py."""
        server, what = self.server, path.removeprefix("/_control/")
        wanted = json.loads(b"".join(self._body()) or b"{}")
        with server.lock:
            if what == "fault":
                server.faults.order(Fault(**wanted))
            elif what == "faults":
                return Answer(server.faults.listed())
            elif what == "log":
                return Answer(server.log)
            elif what == "clear":
                server.faults.clear()
                server.log.clear()
            elif what == "reset":
                server.faults.clear()
                server.log.clear()
                server.pages.clear()
                server.store.clear()
            elif what == "serve":
                server.pages[wanted["path"]] = base64.b64decode(wanted["base64"])
            else:
                return Answer(_change(server.store, what, **wanted))
        return Answer({})


def _change(store: Store, what: str, *, repo: str, **wanted: Any) -> object:
    """Look into a repository, or change it past all checks."""
    found = store.repos.get(repo) or store.create(repo)
    if what == "files":
        tree = found.resolve(wanted["revision"]).tree
        return {path: base64.b64encode(store.blob(entry.sha256).read_bytes()).decode() for path, entry in tree.items()}
    if what == "commits":
        listed = found.history(found.resolve(wanted["revision"]))
        return [{**asdict(commit), "tree": sorted(commit.tree)} for commit in listed]
    if what == "access":
        for name in ("gated", "private", "allow"):
            setattr(found, name, wanted.get(name, getattr(found, name)))
        return {}
    if what == "plant":
        head, data = found.resolve("main"), base64.b64decode(wanted["base64"])
        entry = store.lfs_entry(store.add_blob([data])) if wanted["lfs"] else store.small_entry(data)
        tree = {**head.tree, wanted["path"]: entry}
        return store.commit(found, "refs/heads/main", tree, "plant", author="mallory", parent=head.id).id
    raise Refusal(404, f"no control {what}")


def _opened(body: Any) -> tuple[BinaryIO, int]:
    if isinstance(body, Part):
        file = body.path.open("rb")
        file.seek(body.start)
        return file, body.stop - body.start
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return io.BytesIO(data), len(data)


def main() -> None:
    """Serve until standard input ends, so that no server outlives the tests that started it."""
    server = HubServer(Path(sys.argv[1]))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(server.url, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
