"""One worker of the mixed soak: serves the application of ``tests/guarantees`` on one framework, one release.

Each line on standard input is a request, ``{"id", "method", "path", "query", "cookie"}``; each line out its answer,
``{"id", "status", "cookies", "body", "announced"}``. It serves many at once. Which release it is, its import path says.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.guarantees.stacks import HOST, SERVERS, Asked, Stack

AT_ONCE = 24


@contextmanager
def serve(name: str, options: dict[str, Any]) -> Any:
    """Serve a stack by name; ``careless`` is the control."""
    if name == "careless":
        from tests.guarantees.careless import send_carelessly

        yield Stack(name, send_carelessly(int(options["redis_url"].rpartition(":")[2].partition("/")[0])), None)
        return
    if name.startswith("django"):
        _set_up_django()
    with SERVERS[name](options) as stack:
        yield stack


def _set_up_django() -> None:
    import os

    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.integrations.django.project.settings"
    django.setup()


def answer(stack: Stack, order: dict[str, Any]) -> dict[str, Any]:
    headers = {"host": HOST, "user-agent": "soak", **({"cookie": order["cookie"]} if order["cookie"] else {})}
    found = stack.send(Asked(order["method"], order["path"], order["query"], headers))
    body = json.loads(found.body) if found.body[:1] == b"{" else {}
    return {
        "id": order["id"], "status": found.status, "cookies": found.cookies, "body": body,
        "announced": found.status == 503 and bool(found.values("retry-after")),
    }  # fmt: skip


def main() -> None:
    logging.disable(logging.CRITICAL)
    given = json.loads(sys.argv[1])
    speaking = threading.Lock()
    with serve(given["stack"], given["options"]) as stack, ThreadPoolExecutor(AT_ONCE) as pool:

        def handle(line: str) -> None:
            order = json.loads(line)
            said = stats(stack) if order["method"] == "STATS" else None
            reply = json.dumps({"id": order["id"], **said} if said is not None else answer(stack, order))
            with speaking:
                print(reply, flush=True)

        for line in sys.stdin:
            pool.submit(handle, line)


def stats(stack: Stack) -> dict[str, Any]:
    """What the service has counted, and whether all that live follow rotations."""
    if stack.zdd is None:
        return {"counters": {}, "rotates": False}
    counters = stack.zdd.sessions.counters
    rotates = getattr(stack.zdd, "_all_follow_rotations", bool)()  # release 0 has none
    return {"counters": {name: value for name, value in counters.items() if isinstance(value, int)}, "rotates": rotates}


if __name__ == "__main__":
    main()
