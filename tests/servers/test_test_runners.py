"""Only processes that serve join the fleet: a project's own tests do not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers.uvicorn.harness import ROOT
from zdd_sdk.store.engine import Engine

SETTINGS = "tests.integrations.django.project.settings"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("role", "joins"), [("auto", False), ("web", True)], ids=["ours", "control"])
def test_the_tests_of_a_django_project_join_no_fleet(real_engine: Engine, role: str, joins: bool) -> None:
    words = [sys.executable, "-m", "django", "test", "--settings", SETTINGS, "tests.servers.project_tests"]
    given = {"PROJECT_REDIS": real_engine.url, "ZDD_FLEET_ROLE": role, "ZDD_FLEET_PULSE": "500ms"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO"))}
    done = subprocess.run(words, cwd=ROOT, env={**inherited, **given}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"role={'web' if joins else 'test'}" in done.stdout
    assert bool(real_engine.ask("KEYS", "zdd:*fleet*")) is joins
