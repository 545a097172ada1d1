"""The guard of an engine kills the engine where its owner died, and nobody who has its number later."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zdd_sdk.store import engine

TELLING = engine._SHELL.replace("kill -9 $$", "echo killed")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize(("ended", "said"), [(False, b"killed\n"), (True, b"")])
def test_the_guard_kills_only_its_parent(ended: bool, said: bytes) -> None:
    sleeper = subprocess.Popen(
        ["/bin/sh", "-c", TELLING, "sh", "sleep", "30"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert sleeper.stdin is not None
    assert sleeper.stdout is not None
    try:
        if ended:
            sleeper.kill()
            sleeper.wait()
        sleeper.stdin.close()
        if not ended:
            assert sleeper.stdout.readline() == said
    finally:
        sleeper.kill()
        sleeper.wait()
    assert sleeper.stdout.read() == b""
    sleeper.stdout.close()
