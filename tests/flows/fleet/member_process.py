"""One member of a fleet in a process of its own: ``python member_process.py URL VERSION [fork]``.

Prints a line of JSON once it pulses and then sleeps until it is killed or its standard input ends.
With ``fork`` it forks after its first pulses; the child starts pulsing too, and both report.
"""

from __future__ import annotations

import json
import os
import sys
import time

from zdd_sdk.fleet import Fleet
from zdd_sdk.release import detect_release
from zdd_sdk.settings import FleetSettings, ReleaseSettings, StoreSettings
from zdd_sdk.store import Keys
from zdd_sdk.store.connect import Stores


def main(url: str, version: str, *words: str) -> None:
    keys = Keys("test", "test")
    stores = Stores(StoreSettings(redis_url=url, total_timeout=2.0, operation_timeout=2.0), keys)
    fleet = Fleet(
        FleetSettings(role="web", pulse=0.1, ttl=1.0),
        keys,
        lambda: stores.blocking,
        release=detect_release(ReleaseSettings(version=version), "test", environ={}),
        instance=f"i-{version}",
        fingerprint="f",
        shown={},
        lifecycle_state=lambda: "ready",
    )
    fleet.start()
    wait_for_pulse(fleet)
    report("parent", fleet)
    if "fork" in words:
        fork(fleet)
    sys.stdin.read()


def fork(fleet: Fleet) -> None:
    before = fleet.worker
    if os.fork() == 0:
        first = {"running": fleet.running, "known": fleet.view.known, "same": fleet.worker == before}
        if not fleet.start():
            os._exit(3)
        wait_for_pulse(fleet)
        report("child", fleet, **first)
        time.sleep(60)
        os._exit(0)
    time.sleep(0.5)
    report("after", fleet, same=fleet.worker == before, running=fleet.running)


def wait_for_pulse(fleet: Fleet) -> None:
    while not fleet.view.workers:
        time.sleep(0.02)


def report(who: str, fleet: Fleet, **more: object) -> None:
    line = json.dumps({"who": who, "worker": fleet.worker, "pid": os.getpid(), **more})
    os.write(1, (line + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
