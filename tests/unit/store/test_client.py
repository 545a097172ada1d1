"""redis-py is imported by one thread at a time: its packages import each other in a circle."""

from __future__ import annotations

import subprocess
import sys

import pytest

RACE = """
import sys, threading
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.keys import Keys

{setup}
stores, both, errors = Stores(StoreSettings(redis_url="redis://127.0.0.1:1"), Keys("test", "test")), [], []
start = threading.Barrier(2)

def first(use):
    try:
        start.wait()
        use()
    except BaseException as error:
        errors.append(error)

sys.setswitchinterval(1e-5)
uses = (lambda: stores._core.blocking_network(), lambda: stores.aio)
threads = [threading.Thread(target=first, args=(use,)) for use in uses]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(len(errors))
"""
UNPROTECTED = "from zdd_sdk.store import connect, core; connect.load_client = core.load_client = lambda: None"


def race(setup: str) -> int:
    return subprocess.run([sys.executable, "-c", RACE.format(setup=setup)], timeout=60, check=False).returncode


def test_two_threads_may_use_the_stores_first_at_the_same_moment():
    assert [race("") for _ in range(5)] == [0] * 5


def test_without_the_lock_they_may_not():
    """The negative control: the race is real. Redis may mend it one day; then the lock can go."""
    if not any(race(UNPROTECTED) for _ in range(20)):
        pytest.fail("redis can be imported by two threads at once: load_client is no longer needed")
