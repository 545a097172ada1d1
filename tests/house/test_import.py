"""`import zdd_sdk` stays cheap: what it pulls in is counted, the time is only printed (target 60 ms)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "asyncio", "cryptography", "django", "fakeredis", "fastapi", "flask", "httpx", "opentelemetry", "redis",
    "starlette", "tenacity", "uvicorn", "valkey", "zdd_fastapi",
)  # fmt: skip
PROGRAM = """
import json, sys, time
before = set(sys.modules)
began = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - began, sorted(set(sys.modules) - before)]))
"""


def imported(module: str) -> tuple[float, set[str]]:
    """Import a module in a new interpreter: seconds, and the top-level names of what came with it."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    seconds, names = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    return seconds, {name.partition(".")[0] for name in names}


def test_import_is_light(record_property):
    runs = [imported("zdd_sdk") for _ in range(3)]
    milliseconds = min(seconds for seconds, _ in runs) * 1000
    record_property("milliseconds", round(milliseconds))
    print(f"import zdd_sdk: {milliseconds:.0f} ms (best of 3; target 60 ms), {len(runs[0][1])} packages")
    assert runs[0][1] & set(HEAVY) == set()


@pytest.mark.parametrize("module", ["zdd_fastapi", "zdd_sdk.store.aio"])
def test_control_a_heavy_import_is_seen(module):
    assert imported(module)[1] & set(HEAVY)
