"""Bad input to every command: exit status 2, one line that says what to do, no traceback, no secret."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zdd_sdk.cli import main

PASSWORD = "hidden-pass-word"
SECRET = "a-secret-that-must-never-be-printed"
ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests/rehearsal/apps/scenario.py"
SHOP = ("shop_fastapi.app:app", "--app-dir", str(ROOT / "docs/examples"), "--port", "0")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory, and secrets in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZDD_SECRET", SECRET)
    monkeypatch.setenv("ZDD_REDIS_URL", f"redis://shop:{PASSWORD}@127.0.0.1:1/0")
    return tmp_path


@pytest.fixture
def zdd(capsys):
    """Run a command in this process; returns its status and what it wrote to stderr."""

    def run(*words):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert SECRET not in out + err
        return status, err

    return run


def refused(done):
    """Check that bad input was answered with status 2 and one line; return that line."""
    status, err = done
    lines = [line for line in err.splitlines() if line.startswith("zdd")]
    assert status == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    "words",
    [
        "nope",
        "explain nope",
        "explain nope:app",
        "explain os:path",
        "explain :",
        "doctor --nope",
        "doctor nope:app",
        "fleet nope",
        "fleet --redis-url http://x",
        "fleet --service a/b",
        "fleet wait",
        "fleet wait --release x --ready 0",
        "fleet wait --release x --ready many",
        "fleet wait --release x --timeout soon",
        "fleet wait --release x --timeout -1",
        "drain --wait soon",
        "drain --wait nan",
        "drain --wait 1e400",
        "drain --instance a --all",
        "release",
        "release nope",
        "release bake --version 1 --output /proc/nope/release.json",
        "release bake --git",
        "serve",
        "serve nginx app:app",
        "rehearse",
        "rehearse --scenario nope.py {port}",
        "rehearse --scenario . {port}",
        "rehearse --scenario S serve",
        "rehearse --scenario S {port} --instances 0",
        "rehearse --scenario S {port} --users many",
        "rehearse --scenario S {port} --step soon",
        "rehearse --scenario S {port} --grace -1s",
        "rehearse --scenario S {port} --fault nope",
        "rehearse --scenario S {port} --fault redis-pause=soon",
        "rehearse --scenario S {port} --fault kill=1@nowhere",
        "rehearse --scenario S {port} --old-env X",
        "rehearse --scenario S {port} --old-ref nope",
        "rehearse --scenario S {port} --router nope",
        "rehearse --scenario S {port} --strategy nope",
        "rehearse --scenario S {port} --redis-url http://shop:hidden-pass-word@x",
        "rehearse --scenario S {port} --out /proc/nope",
        "rehearse --scenario S nope-nope-{port}",
        "rehearse --scenario S 'unclosed-{port}",
    ],
)
def test_bad_words_are_refused_in_one_line(zdd, words):
    refused(zdd(*[str(SCENARIO) if word == "S" else word for word in words.split()]))


@pytest.mark.parametrize("command", ["explain", "doctor", "fleet", "drain", "release show"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZDD_SESSIONS_IDLE_TIMEOUT", "soon"),
        ("ZDD_STORE_POOL_SIZE", "0"),
        ("ZDD_SERVICE", "a b"),
        ("ZDD_MODE", "off"),
        ("ZDD_RELEASE_VERSION", "\udcff"),
        ("ZDD_CONFIG", "/nope/zdd.toml"),
    ],
)
def test_a_wrong_environment_is_refused_by_every_command(zdd, monkeypatch, command, name, value):
    monkeypatch.setenv(name, value)
    assert name.rpartition("_")[2].lower() in refused(zdd(*command.split())).lower()


@pytest.mark.parametrize("command", ["explain", "doctor", "fleet", "drain", "release show"])
@pytest.mark.parametrize("content", [b"a = = 1", b"\xff", b"service = 1", b"[sessions]\nidle_timeout = true"])
def test_a_file_of_garbage_is_refused_by_every_command(zdd, here, command, content):
    (here / "zdd.toml").write_bytes(content)
    assert "zdd.toml" in refused(zdd(*command.split()))


@pytest.mark.parametrize(
    "url", ["http://shop:{}@h", "redis://shop:{}@[::1", "redis://shop:{}@h/x", "{}", "redis://{}@:x"]
)
@pytest.mark.parametrize("command", ["doctor", "fleet"])
def test_a_wrong_store_url_is_named_and_not_shown(zdd, monkeypatch, command, url):
    monkeypatch.setenv("ZDD_REDIS_URL", url.format(PASSWORD))
    status, err = zdd(*command.split())
    assert status in {1, 2}
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words", ["explain", "explain --json --docs", "doctor", "doctor --json", "doctor --acl", "fleet"]
)
def test_nothing_secret_is_printed_where_all_is_well_or_redis_is_away(zdd, words):
    status, err = zdd(*words.split())
    assert status in {0, 1}
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text",
    [
        "import nope_nope",
        "def (",
        "raise SystemExit(0)",
        "raise ValueError",
        "x = 1",
        "\x00",
        "import sys; sys.exit(3)",
    ],
)
def test_a_scenario_that_cannot_be_imported(zdd, here, text):
    (here / "wrong.py").write_text(text)
    assert "wrong.py" in refused(zdd("rehearse", "--scenario", "wrong.py", "sleep 60 {port}"))


@pytest.mark.parametrize(
    ("command", "said"),
    [("true {port}", "exited with 0"), ("sh -c 'exit 3' {port}", "exited with 3"), ("sleep 60 {port}", "not ready")],
)
def test_a_command_that_ends_at_once_or_never_listens(zdd, command, said):
    line = refused(zdd("rehearse", "--scenario", str(SCENARIO), "--ready-timeout", "1s", command))
    assert said in line


def serve(*words, environ=None, seconds=20):
    """Run `zdd serve uvicorn` in a process of its own until it ends."""
    command = [sys.executable, "-c", "import sys; from zdd_sdk.cli import main; sys.exit(main())", "serve", "uvicorn"]
    path = os.pathsep.join(str(ROOT / part) for part in (".", "integrations"))
    env = {**os.environ, "PYTHONPATH": path, **(environ or {})}
    process = subprocess.Popen([*command, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
    assert PASSWORD not in said
    assert SECRET not in said
    assert "Traceback" not in said
    return process.returncode, said


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ZDD_SESSIONS_COOKIE_NAME": "a b"}, "sessions.cookie_name"),
        ({"ZDD_SESSIONS_IDLE_TIMEOUT": "soon"}, "sessions.idle_timeout"),
        ({"ZDD_STORE_POOL_SIZE": "0"}, "store.pool_size"),
        ({"ZDD_FLEET_TTL": "1s"}, "fleet.ttl"),
        ({"ZDD_ENVIRONMENT": "production", "ZDD_SECRET": "short"}, "ZDD_SECRET"),
        ({"ZDD_REDIS_URL": f"http://shop:{PASSWORD}@h"}, "store.redis_url"),
        ({"ZDD_REDIS_URL": f"redis://shop:{PASSWORD}@h/x"}, "store.redis_url"),
    ],
)
def test_a_server_with_wrong_options_never_becomes_ready(environ, said):
    """Else a rolling deployment would replace every good instance by one that answers 500 to everything."""
    status, output = serve(*SHOP, environ=environ)
    assert status in {2, 3}, output
    assert said in output
    assert "running on" not in output


def test_a_port_in_use_ends_the_server_with_a_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, output = serve(*SHOP[:-1], str(taken.getsockname()[1]))
    assert status not in {0, -signal.SIGKILL}
    assert "address already in use" in output.lower()


@pytest.mark.parametrize("app", ["nope", "nope:app", "shop_fastapi.app:nope"])
def test_an_application_that_is_not_there(app):
    status, output = serve(app, *SHOP[1:])
    assert status in {1, 2, 3}
    assert app.partition(":")[0] in output
