"""Answers requests of the project in processes that are killed (SIGKILL) at a chosen point.

As a program it has the project loaded and forks for each line on stdin, ``{"path", "key", "handler", "atomic",
"point", "after", "redis"}``; it answers with one line each: status, headers and body, or that there is none. As a
module it starts that program.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["POINTS", "Killing", "start"]

ROOT = Path(__file__).parents[3]
LEASE = 0.4
ROOMY = {"connect_timeout": 5.0, "operation_timeout": 5.0, "total_timeout": 10.0}
POINTS = ("claimed", "inserted", "effect", "committed", "kept", "settled")
"""After the claim; the guard row; the effect, before its commit; the commit, before the last bytes; those bytes,
before Redis hears of it; that, before the answer leaves."""


class Killing:
    """The program under way."""

    def __init__(self, kind: str, process: subprocess.Popen[str]) -> None:
        self.kind = kind
        self._process = process

    def ask(self, path: str, key: str, point: str = "", **more: Any) -> dict[str, Any] | None:
        """Send one request; ``None`` if its process was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"path": path, "key": key, "point": point, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the program has ended"
        answer: dict[str, Any] | None = json.loads(line)
        return answer

    def ask_until_done(self, path: str, key: str, **more: Any) -> dict[str, Any]:
        """Send it again, as a client would, until the answer is not that the first one is still running."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answer = self.ask(path, key, **more)
            if answer is not None and "idempotency-in-progress" not in answer["body"]:
                return answer
            time.sleep(LEASE / 4)
        raise TimeoutError(path)


@contextmanager
def start(kind: str, database: dict[str, Any], redis: str) -> Iterator[Killing]:
    """Start the program, with the tables made."""
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.integrations.django.project.settings",
        "PROJECT_DATABASE": json.dumps(database),
        "PROJECT_REDIS": redis,
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, ROOT / "integrations"])),
    }
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", "tests.integrations.django.killing"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT, text=True, **pipes)
    try:
        killing = Killing(kind, process)
        yield killing
    finally:
        process.communicate()


# The program


def main() -> None:
    from django.conf import settings

    if "mysql" in settings.DATABASES["default"]["ENGINE"]:
        from tests.integrations.django.databases import use_pymysql

        use_pymysql()
    settings.ZDD.update(fleet={"enabled": False}, idempotency={"lease": LEASE}, store=ROOMY)
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    from zdd_django.service import forget

    _answer({"path": "/paid?key=none", "key": "none", "point": ""})  # imports what each child would
    forget()
    connections.close_all()
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


def _forked(order: dict[str, Any]) -> dict[str, Any] | None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, json.dumps(_answer(order)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    if order.get("after") is not None:
        time.sleep(order["after"])
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    from django.conf import settings
    from django.db import connections
    from django.test import AsyncClient, Client

    from zdd_django.service import forget

    connections.settings["default"]["ATOMIC_REQUESTS"] = order.get("atomic", False)
    if "redis" in order:
        settings.ZDD["redis_url"] = order["redis"]
        forget()
    if order["point"]:
        _arm(order["point"])
    request: dict[str, Any] = {"data": {"amount": 5}, "content_type": "application/json"}
    request["headers"] = {"idempotency-key": order["key"]}
    if order.get("handler") == "asgi":
        answer = asyncio.run(AsyncClient(raise_request_exception=False).post(order["path"], **request))
    else:
        answer = Client(raise_request_exception=False).post(order["path"], **request)
    return {"status": answer.status_code, "headers": dict(answer.items()), "body": answer.content.decode()}


def _arm(point: str) -> None:
    """Have this process killed there."""
    from tests.integrations.django.project import payments
    from zdd_django import capture
    from zdd_django.guard import DjangoTransaction
    from zdd_sdk.idempotency.begin import Claimer
    from zdd_sdk.idempotency.core import Idempotency
    from zdd_sdk.idempotency.settle import Settler

    match point:
        case "claimed":
            _after(Claimer, "_claim")
        case "inserted":
            _after(DjangoTransaction, "insert")
        case "effect":
            payments.hooks.append(lambda _: _die())
        case "committed":
            _instead(capture, "_show")
        case "kept":
            _after(Settler, "keep")
        case "settled":
            _instead(Idempotency, "left")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _instead(owner: Any, name: str) -> None:
    setattr(owner, name, lambda *_: _die())


def _after(owner: Any, name: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    async def then_die(*arguments: Any) -> None:
        await original(*arguments)
        _die()

    setattr(owner, name, then_die)


if __name__ == "__main__":
    main()
