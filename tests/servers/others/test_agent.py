"""HAProxy's agent-check: over raw TCP, with several workers, and as a real HAProxy understands it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.others.test_dropping import drain
from tests.servers.start import ASGI, ZDD, free_port, starting
from tests.servers.uvicorn.harness import ask
from zdd_sdk.lifecycle import CheckState, Lifecycle, State
from zdd_sdk.lifecycle.agent import agent_answer
from zdd_sdk.settings import LifecycleSettings

pytestmark = pytest.mark.timeout(120)


def said(port: int, send: bytes = b"") -> bytes:
    """What the agent says, or why not."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(send)
            time.sleep(0.2 * bool(send))
            received = b""
            while chunk := connection.recv(100):
                received += chunk
            return received
    except OSError as error:
        return repr(error).encode()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("state", "checks", "answer"),
    [
        (State.STARTING, {}, b"down\n"),
        (State.READY, {}, b"up ready\n"),
        (State.READY, {"db": CheckState(critical=True, ok=False)}, b"down\n"),
        (State.READY, {"db": CheckState(critical=False, ok=False)}, b"up ready\n"),
        (State.DRAINING, {}, b"drain\n"),
        (State.DRAINING, {"db": CheckState(critical=True, ok=False)}, b"drain\n"),
        (State.STOPPING, {}, b"drain\n"),
    ],
)
def test_the_answer_follows_state_and_critical_checks(
    state: State, checks: dict[str, CheckState], answer: bytes
) -> None:
    assert agent_answer(state, checks) == answer


def test_it_answers_whatever_is_sent_and_ends_with_the_lifecycle(tmp_path: Path) -> None:
    port = free_port()
    settings = LifecycleSettings(agent_port=port, run_dir=str(tmp_path / "run"), readyz_while_terminating="serve")
    lifecycle = Lifecycle(settings, service="s", environment="e")
    lifecycle.start()
    until(lambda: said(port) == b"down\n")
    lifecycle.mark_ready()
    assert said(port, b"hello\n") == b"up ready\n"
    lifecycle.begin_drain("")
    assert said(port) == b"drain\n"
    lifecycle.stop()
    until(lambda: b"Refused" in said(port))


def test_without_the_option_there_is_no_port(tmp_path: Path) -> None:
    lifecycle = Lifecycle(LifecycleSettings(run_dir=str(tmp_path / "run")), service="s", environment="e")
    lifecycle.start()
    assert "zdd-agent" not in [thread.name for thread in threading.enumerate()]
    lifecycle.stop()


def test_a_port_that_is_taken_is_said_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        settings = LifecycleSettings(agent_port=port, run_dir=str(tmp_path / "run"))
        lifecycle = Lifecycle(settings, service="s", environment="e")
        lifecycle.start()
        until(lambda: "lifecycle.agent_port" in caplog.text)
    until(lambda: said(port) == b"down\n")
    assert caplog.text.count("no HAProxy agent") == 1
    lifecycle.stop()


def _binder(port: int) -> int:
    """Process id of who listens."""
    inode = next(
        line.split()[9]
        for name in ("tcp6", "tcp")
        for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    )
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                return int(descriptor.parts[2])
        except OSError:
            continue
    message = "nobody listens"
    raise AssertionError(message)


def test_one_worker_answers_for_the_instance_and_another_takes_over(tmp_path: Path) -> None:
    port, agent = free_port(), free_port()
    words = [*ZDD, "serve", "uvicorn", ASGI, "--port", str(port), "--workers", "2", "--no-access-log"]
    environ = {"ZDD_LIFECYCLE_AGENT_PORT": str(agent)}
    with starting(words, tmp_path, port=port, workers=2, environ=environ) as server:
        until(lambda: said(agent) == b"up ready\n")
        os.kill(_binder(agent), signal.SIGKILL)
        until(lambda: said(agent) == b"up ready\n")
        until(lambda: ask(port, "/readyz").status == 200)
        assert drain(tmp_path).returncode == 0
        until(lambda: said(agent) == b"drain\n", 5)
        assert "no HAProxy agent" not in server.text()


CONFIGURATION = """
global
  stats socket {control} level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
listen site
  bind 127.0.0.1:{front}
  server one 127.0.0.1:{port} check inter 200ms agent-check agent-port {agent} agent-inter 200ms
"""


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_a_real_haproxy_drains_and_takes_it_back(tmp_path: Path) -> None:
    port, agent, front = free_port(), free_port(), free_port()
    control = tmp_path / "control"
    text = CONFIGURATION.format(control=control, front=front, port=port, agent=agent)
    (tmp_path / "haproxy.cfg").write_text(text)
    words = [*ZDD, "serve", "uvicorn", ASGI, "--port", str(port), "--no-access-log"]
    environ = {"ZDD_LIFECYCLE_AGENT_PORT": str(agent)}
    with subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")], stderr=subprocess.DEVNULL) as proxy:
        try:
            for _ in range(2):  # the second is the successor: HAProxy must take the drain back
                with starting(words, tmp_path, port=port, environ=environ) as server:
                    until(lambda: _status(control) == "UP")
                    assert ask(front).status == 200
                    assert drain(tmp_path).returncode == 0
                    until(lambda: _status(control).startswith("DRAIN"))
                    assert ask(port).status == 200, "it serves on"
                    server.signal()
                    assert server.wait() == 0
        finally:
            proxy.terminate()


def _status(control: Path) -> str:
    """HAProxy's column ``status`` of the server."""
    if not control.exists():
        return ""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        connection.sendall(b"show stat\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    lines = [line.split(",") for line in received.decode().splitlines()]
    row = next(line for line in lines if line[:2] == ["site", "one"])
    return row[lines[0].index("status")]
