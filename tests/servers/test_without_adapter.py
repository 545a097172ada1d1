"""What the log says of a server that we do not drive is what that server does."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.servers.start import free_port, starting
from tests.servers.uvicorn.harness import ask
from zdd_sdk.lifecycle import Lifecycle
from zdd_sdk.lifecycle.servers.signals import chain_sigterm
from zdd_sdk.settings import LifecycleSettings

STATUS = "exit status is not 0"
WSGI = "tests.servers.others.wrapped_wsgi_application:app"
ASGI = "tests.servers.uvicorn.wrapped_application:app"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("server", "words"),
    [("gunicorn", ["gunicorn", WSGI, "-b"]), ("uvicorn", ["uvicorn", ASGI, "--host", "127.0.0.1", "--port"])],
    ids=["gunicorn", "uvicorn"],
)
def test_it_says_of_the_exit_status_what_is_true(server: str, words: list[str], tmp_path: Path) -> None:
    port = free_port()
    where = f"127.0.0.1:{port}" if server == "gunicorn" else str(port)
    with starting([sys.executable, "-m", *words, where], tmp_path, port=port, lag="200ms", workers=0) as found:
        assert ask(port).status == 200
        found.wait_for(f"`zdd serve {server} …` instead of `{server} …` mends that")
        found.signal()
        status = found.wait()
        assert (status == 0) is (server == "gunicorn")
        assert (STATUS in found.text()) is (status != 0)


def test_a_second_signal_is_the_last_that_we_send(tmp_path: Path) -> None:
    """The timer of the first would go off in whatever this process does by then."""
    seen: list[int] = []
    settings = LifecycleSettings(run_dir=str(tmp_path / "run"), drain_lag=0.3)
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        assert chain_sigterm(Lifecycle(settings, service="s", environment="e"))
        signal.raise_signal(signal.SIGTERM)
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        signal.raise_signal(signal.SIGTERM)
        for timer in timers:
            timer.join(5)
        assert (len(timers), seen) == (1, [signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, before)
