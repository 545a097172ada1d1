"""A service that refuses to serve ends its server, loudly, before a connection is accepted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers.start import ZDD, each_of, free_port
from tests.servers.uvicorn.harness import ROOT

APP = "tests.servers.refusing_application:app"
WSGI_APP = "tests.servers.refusing_application:wsgi_app"


@pytest.mark.timeout(60)
@each_of(
    "words",
    f"hypercorn {WSGI_APP} --workers 1 --bind 127.0.0.1:PORT",
    f"granian {APP} --interface asgi --port PORT",
    among=[
        f"hypercorn {APP} --workers 0 --bind 127.0.0.1:PORT",
        f"hypercorn {WSGI_APP} --workers 1 --bind 127.0.0.1:PORT",
        f"granian {APP} --interface asgi --port PORT",
        f"granian {WSGI_APP} --interface wsgi --port PORT",
        f"waitress --port PORT {WSGI_APP}",
        f"daphne --port PORT {APP}",
    ],
)
def test_it_refuses_to_serve(tmp_path: Path, words: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ZDD_")}
    done = subprocess.run(
        [*ZDD, "serve", *words.replace("PORT", str(free_port())).split()],
        env={**environ, "ZDD_LIFECYCLE_RUN_DIR": str(tmp_path / "run")},
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "zdd: " in done.stdout + done.stderr
    assert "ZDD_REDIS_URL" in done.stdout + done.stderr
