"""A worker in a process of its own: it charges, which a file outside of it counts, and then stands at a gate.

``ZDD_TEST_FOLDER`` has a file ``<key>`` (one line per effect: worker, child key) and a gate for each: ``<key>.open``
lets runs end. ``ZDD_TEST_WORKER`` names the worker, and the one called ``a`` stands at the gate.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from fastapi import FastAPI

from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime
from zdd_sdk.idempotency import current

FOLDER, WORKER = Path(os.environ["ZDD_TEST_FOLDER"]), os.environ["ZDD_TEST_WORKER"]

zdd = ZeroDowntime("shop", environment="test")
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)


def pay() -> dict[str, str]:
    context = current()
    assert context is not None
    with (FOLDER / context.key).open("a") as file:
        file.write(f"{WORKER} {context.child_key('charge')}\n")
    end = time.monotonic() + 60
    while WORKER == "a" and not (FOLDER / f"{context.key}.open").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return {"by": WORKER, "lost": str(context.lease_lost)}


for _effects, _unknown in (("external", "hold"), ("unsafe", "hold"), ("pure", "hold"), ("careless", "takeover")):

    def _endpoint() -> dict[str, str]:
        return pay()

    app.post(f"/{_effects}")(
        zdd.idempotent(
            operation=_effects,
            effects="unsafe" if _effects == "careless" else _effects,  # type: ignore[arg-type]
            principal="anonymous",
            on_unknown=_unknown,
        )(_endpoint)
    )
