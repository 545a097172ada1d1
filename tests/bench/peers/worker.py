"""One contender in a process of its own: reads requests on standard input, calls its application, says what it cost.

Each line in is a JSON object: ``{"do": "ask", "path": …, "times": n}``, ``{"do": "calls", "path": …}``,
``{"do": "race", "rounds": n}``; each line out is the answer. Cookies are kept as a browser keeps them.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.bench.peers.contenders import CONTENDERS

Cookies = dict[str, str]


class Wsgi:
    """Calls a WSGI application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def ask_all(self, targets: list[str], cookies: Cookies) -> str:
        for target in targets:
            text = self.ask(target, cookies)
        return text

    def ask(self, target: str, cookies: Cookies) -> str:
        parts = urlsplit(target)
        environ = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": parts.path, "QUERY_STRING": parts.query,
            "SERVER_NAME": "localhost", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
            "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
            "HTTP_COOKIE": _header(cookies),
        }  # fmt: skip
        begun: list[Any] = []
        body = self.app(environ, lambda status, headers, exc=None: begun.append((status, headers)))
        text = b"".join(body).decode()
        if hasattr(body, "close"):
            body.close()
        status, headers = begun[-1]
        assert status.startswith("200"), (target, status, text)
        _learn(cookies, [value for name, value in headers if name.lower() == "set-cookie"])
        return text

    def race(self, targets: list[str], cookies: Cookies) -> None:
        start = threading.Barrier(len(targets))

        def run(target: str) -> None:
            start.wait()
            self.ask(target, dict(cookies))

        threads = [threading.Thread(target=run, args=(target,)) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Asgi:
    """Calls an ASGI application on one loop."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.runner = asyncio.Runner()

    def ask_all(self, targets: list[str], cookies: Cookies) -> str:
        async def one_by_one() -> str:
            for target in targets:
                text = await self._ask(target, cookies)
            return text

        return self.runner.run(one_by_one())

    async def _ask(self, target: str, cookies: Cookies) -> str:
        parts = urlsplit(target)
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "https",
            "path": parts.path, "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 443),
            "headers": [(b"host", b"localhost"), (b"cookie", _header(cookies).encode())],
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        text = b"".join(message.get("body", b"") for message in sent[1:]).decode()
        assert sent[0]["status"] == 200, (target, sent)
        _learn(cookies, [value.decode() for name, value in sent[0]["headers"] if name.lower() == b"set-cookie"])
        return text

    def race(self, targets: list[str], cookies: Cookies) -> None:
        async def together() -> None:
            await asyncio.gather(*(self._ask(target, dict(cookies)) for target in targets))

        self.runner.run(together())


def _header(cookies: Cookies) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _learn(cookies: Cookies, lines: list[str]) -> None:
    for line in lines:
        name, _, value = line.partition(";")[0].partition("=")
        cookies[name.strip()] = value.strip()


def ask(client: Wsgi | Asgi, cookies: Cookies, path: str, times: int) -> float:
    """Ask so many times; return CPU µs per request."""
    gc.collect()
    gc.disable()
    targets = [f"{path}?name=a&value={number}" if path == "/write" else path for number in range(times)]
    began = time.process_time()
    client.ask_all(targets, cookies)
    spent = (time.process_time() - began) / times * 1e6
    gc.enable()
    return spent


def count_calls(client: Wsgi | Asgi, cookies: Cookies, path: str, times: int = 10) -> float:
    """Count the calls of functions, of Python and of C, that a request takes."""
    calls = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    targets = [f"{path}?name=a&value={number}" if path == "/write" else path for number in range(times)]
    sys.setprofile(note)
    client.ask_all(targets, cookies)
    sys.setprofile(None)
    return calls / times


def race(client: Wsgi | Asgi, cookies: Cookies, rounds: int) -> int:
    """Have two requests write a field each at the same time; return how many of the writes were lost."""
    lost = 0
    for number in range(rounds):
        client.race([f"/write?name=a&value={number}", f"/write?name=b&value={number}"], cookies)
        lost += sum(found != str(number) for found in client.ask_all(["/show"], dict(cookies)).split(","))
    return lost


def main() -> None:
    logging.disable(logging.WARNING)
    build, kind = CONTENDERS[sys.argv[1]]
    client = (Asgi if build.__name__ == "starlette" else Wsgi)(build(kind))
    cookies: Cookies = {}
    commands: dict[str, Callable[[Any], Any]] = {
        "ask": lambda order: ask(client, cookies, order["path"], order["times"]),
        "calls": lambda order: count_calls(client, cookies, order["path"]),
        "race": lambda order: race(client, cookies, order["rounds"]),
    }
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(commands[order["do"]](order)), flush=True)


if __name__ == "__main__":
    main()
