"""One operation as a function, a Flask view and a FastAPI endpoint, in forks that kill themselves where they are told.

``python -m tests.integrations.flask.crashing_application URL FILE`` reads a case per line and writes how it ended.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import uuid
from typing import Any

from fastapi import FastAPI
from flask import Flask
from starlette.testclient import TestClient

from zdd_fastapi import ZddMiddleware
from zdd_flask import Zdd
from zdd_sdk import ZddError, ZeroDowntime
from zdd_sdk.idempotency import current
from zdd_sdk.idempotency.settle import Settler

POINTS = ("before", "claimed", "done", "settling", "settled")
"""Where a run can be killed: before its claim, after it, with the effect there, before Redis is told, after that."""

POLICIES: dict[str, dict[str, Any]] = {
    "external": {"effects": "external"},
    "unsafe": {"effects": "unsafe"},
    "takeover": {"effects": "unsafe", "on_unknown": "takeover"},
    "random": {"effects": "external"},
}
"""The last two are controls: what others do with a lapsed lease, and who makes up a new key for each attempt."""

_case: dict[str, str] = {}
_url, _effects = sys.argv[1:3]

zdd = ZeroDowntime(
    "crashing", environment="test", redis_url=_url, secret=("s" * 40,), fleet={"enabled": False},
    idempotency={"lease": "1s"}, store={"operation_timeout": "10s", "connect_timeout": "10s", "total_timeout": "20s"},
)  # fmt: skip
flask_app, fastapi_app = Flask("crashing"), FastAPI()
Zdd(flask_app, zdd)
fastapi_app.add_middleware(ZddMiddleware, zdd=zdd)


def die_at(point: str) -> None:
    """Die here, if told so: nothing of Python's runs any more."""
    if _case.get("point") == point:
        os.kill(os.getpid(), signal.SIGKILL)


def principal(_: object) -> str:
    """Whoever it is; asked right before the claim."""
    die_at("before")
    return "somebody"


def charge(name: str) -> str:
    """Call somebody downstream, who knows a request by its key."""
    die_at("claimed")
    context = current()
    assert context is not None
    child = str(uuid.uuid4()) if _case["policy"] == "random" else context.child_key("charge")
    descriptor = os.open(_effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{name} {child}\n".encode())
    die_at("done")
    return name


def _told(step: Any, point: str, *, after: bool) -> Any:
    @functools.wraps(step)
    def around(*args: Any) -> Any:
        if not after:
            die_at(point)
        result = step(*args)
        if after:
            die_at(point)
        return result

    return around


Settler.settling = _told(Settler.settling, "settling", after=False)  # type: ignore[method-assign]
Settler.settled = _told(Settler.settled, "settled", after=True)  # type: ignore[method-assign]

functions: dict[str, Any] = {}


def _add(policy: str) -> None:
    said = {**POLICIES[policy], "principal": principal}

    @zdd.idempotent(operation=f"function.{policy}", key="name", **said)
    def function(name: str) -> str:
        return charge(name)

    @flask_app.post(f"/{policy}/<name>", endpoint=policy)
    @zdd.idempotent(operation=f"flask.{policy}", **said)
    def view(name: str) -> dict[str, str]:
        return {"name": charge(name)}

    @fastapi_app.post(f"/{policy}/{{name}}")
    @zdd.idempotent(operation=f"fastapi.{policy}", **said)
    async def endpoint(name: str) -> dict[str, str]:
        return {"name": charge(name)}

    functions[policy] = function


for _policy in POLICIES:
    _add(_policy)


def attempt(surface: str, policy: str, name: str) -> str:
    """Ask once; the answer, or the code of the refusal."""
    if surface == "function":
        try:
            return str(functions[policy](name))
        except ZddError as error:
            return error.code
    path, headers = f"/{policy}/{name}", {"Idempotency-Key": name}
    if surface == "flask":
        found = flask_app.test_client().post(path, headers=headers).get_json()
    else:
        found = TestClient(fastapi_app).post(path, headers=headers).json()
    return str(found.get("name") or found["type"].removeprefix("urn:zdd:"))


def _run(case: dict[str, str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _case.update(case)
        os.write(writing, attempt(case["surface"], case["policy"], case["name"]).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    answer = os.read(reading, 4096).decode()
    os.close(reading)
    return "killed" if os.WIFSIGNALED(status) else answer


if __name__ == "__main__":
    for line in sys.stdin:
        print(_run(json.loads(line)), flush=True)
