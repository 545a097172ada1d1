"""A WSGI service with an endless stream of events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from zdd_sdk import ZeroDowntime
from zdd_sdk.lifecycle import on_serve
from zdd_sdk.web import WsgiServiceHalf

zdd = ZeroDowntime("streams", redis_url="off", sessions={"enabled": False}, fleet={"enabled": False})


def _events() -> Iterator[bytes]:
    while True:
        yield b"data: here\n\n"
        time.sleep(0.05)


def _answer(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return _events()


app = WsgiServiceHalf(_answer, zdd)
on_serve(zdd.start)
