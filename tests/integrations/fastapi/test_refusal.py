"""A misconfigured service refuses to start: on a real uvicorn, in one line, with its exit status."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers.uvicorn.harness import PLAIN, ROOT, ZDD

WRITTEN = """
from fastapi import FastAPI
from zdd_fastapi import ZddMiddleware
from zdd_sdk import ZeroDowntime

zdd = ZeroDowntime("shop", environment="production")
app = FastAPI()
app.add_middleware(ZddMiddleware, zdd=zdd)

async def bare(scope, receive, send):
    assert scope["type"] == "http"

bare = ZddMiddleware(bare, zdd=zdd)
"""


@pytest.mark.parametrize("command", [ZDD, PLAIN], ids=["zdd serve", "uvicorn"])
@pytest.mark.parametrize("app", ["app", "bare"])
@pytest.mark.parametrize(
    ("environ", "reason"), [({}, "ZDD_SECRET is not set"), ({"ZDD_SECRET": "s" * 40}, "no ZDD_REDIS_URL")]
)
def test_what_is_missing_is_said_in_one_line(
    command: tuple[str, ...], app: str, environ: dict[str, str], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "refused.py").write_text(WRITTEN)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZDD_")}
    path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "integrations")])
    done = subprocess.run(
        [*command, f"refused:{app}", "--port", "0"],
        env={**clean, "PYTHONPATH": path, **environ},
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert 3 == done.returncode, done.stderr
    assert [reason] == [reason for line in done.stderr.splitlines() if f"zdd: {reason}" in line]
    assert "Traceback" not in done.stderr
