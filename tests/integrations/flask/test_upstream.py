"""Flask's own test suite, from the source distribution of the version that is installed, over our sessions."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.3 and older know no filter."""

pytestmark = [pytest.mark.xdist_group("flask upstream"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
PLUGIN = "tests.integrations.flask.upstream_plugin"

CANNOT_APPLY = {
    "test_basic::test_session_secret_key_fallbacks": (
        "the cookie's signature: ours is a random id, which nobody signs and SECRET_KEY cannot make unreadable"
    ),
    "test_basic::test_app_freed_on_zero_refcount": (
        "an application whose wsgi_app is wrapped refers to itself, whoever wraps it; the collector frees it "
        "(test_an_application_that_is_forgotten_is_freed)"
    ),
}
"""Tests that cannot hold for any session kept outside the cookie, or for any WSGI middleware."""

WITHOUT_A_STORE = {"test_basic::test_missing_session", "test_testing::test_session_transactions_no_null_sessions"}
"""Tests of an application whose sessions are not configured: without SECRET_KEY for Flask's, without Redis for ours."""

ABOUT_SESSIONS = {
    "test_basic::test_session_accessed",
    "test_basic::test_session_path",
    "test_basic::test_session_using_application_root",
    "test_basic::test_session_using_session_settings",
    "test_basic::test_session_using_samesite_attribute",
    "test_basic::test_session_expiration",
    "test_basic::test_session_stored_last",
    "test_basic::test_session_special_types",
    "test_basic::test_session_cookie_setting",
    "test_basic::test_session_vary_cookie",
    "test_basic::test_session_refresh_vary",
    "test_basic::test_flashes",
    "test_basic::test_extended_flashing",
    "test_helpers.TestStreaming::test_stream_keeps_session",
    "test_reqctx::test_session_error_pops_context",
    "test_reqctx::test_session_dynamic_cookie_name",
    "test_session_interface::test_open_session_with_endpoint",
    "test_testing::test_redirect_session",
    "test_testing::test_session_transactions",
    "test_testing::test_session_transactions_keep_context",
    "test_testing::test_session_transaction_needs_cookies",
}
"""Those that must have run, and passed, whatever else there is; by the names of Flask 3.1."""


def fetch(cache: Path) -> Path:
    """Return Flask's tests, downloaded once per version; fails loudly without an index."""
    directory = cache / f"flask-{version('flask')}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "flask.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "tests").exists():
            _download(cache)
    return directory


def _download(cache: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", place]
        subprocess.run([sys.executable, "-m", "pip", *words, f"flask=={version('flask')}"], check=True, timeout=240)
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(cache, **_SAFELY)


def run(source: Path, results: Path, *words: str, **environ: str) -> dict[str, str]:
    """Run Flask's tests and return how each ended: ``passed``, ``skipped``, or its failure's text."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}", *words]
    everything = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ}
    result = subprocess.run(
        command, check=False, cwd=source, env=everything, capture_output=True, text=True, timeout=280
    )
    assert results.exists(), result.stdout + result.stderr
    return {_name(case): _outcome(case) for case in ET.parse(results).iter("testcase")}


def _name(case: ET.Element) -> str:
    return f"{case.attrib['classname'].removeprefix('tests.')}::{case.attrib['name']}"


def _path(name: str) -> str:
    module, _, test = name.partition("::")
    module, _, within = module.partition(".")
    return "::".join(filter(None, (f"tests/{module}.py", within, test)))


def _outcome(case: ET.Element) -> str:
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return found.text or kind
    return "skipped" if case.find("skipped") is not None else "passed"


@pytest.fixture(scope="module")
def source() -> Path:
    return fetch(ROOT / "build" / "upstream")


def test_flasks_own_tests_pass_over_our_sessions(source: Path, tmp_path: Path, real_engine: Any) -> None:
    ours = run(source, tmp_path / "ours.xml", "-p", PLUGIN, "tests", ZDD_REDIS_URL=real_engine.url)
    failed = {name: text for name, text in ours.items() if text not in {"passed", "skipped"}}
    unforeseen = failed.keys() - CANNOT_APPLY.keys() - WITHOUT_A_STORE
    bare = run(source, tmp_path / "bare.xml", "-p", f"{PLUGIN}_bare", *map(_path, unforeseen)) if unforeseen else {}
    ours_alone = {name: failed[name] for name in unforeseen if bare.get(name) == "passed"}
    assert not ours_alone, "\n\n".join(f"{name}\n{text}" for name, text in ours_alone.items())
    assert CANNOT_APPLY.keys() | WITHOUT_A_STORE <= failed.keys(), "what has begun to pass needs no excuse"
    assert {"passed"} == {ours[name] for name in ABOUT_SESSIONS if name in ours}
    if version("flask").startswith("3.1."):
        assert ABOUT_SESSIONS <= ours.keys()


def test_without_a_store_it_is_as_without_a_secret_key_and_nothing_is_kept(source: Path, tmp_path: Path) -> None:
    """The second half is the control: what passes above fails over sessions that are nowhere."""
    kept = {"test_basic::test_session_stored_last", "test_testing::test_session_transactions"}
    ours = run(source, tmp_path / "off.xml", "-p", PLUGIN, *map(_path, WITHOUT_A_STORE | kept), ZDD_REDIS_URL="off")
    assert WITHOUT_A_STORE | kept == ours.keys()
    assert WITHOUT_A_STORE == {name for name, outcome in ours.items() if outcome == "passed"}
