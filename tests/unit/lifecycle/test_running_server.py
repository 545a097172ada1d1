"""Which server runs us, as far as its command tells, and what is said about it."""

from __future__ import annotations

import sys

import pytest

from zdd_sdk.lifecycle.servers.signals import running_server, what_is_missing


@pytest.mark.parametrize(
    ("command", "server"),
    [
        ("/srv/.venv/bin/uvicorn", "uvicorn"),
        ("/srv/lib/python3.13/site-packages/hypercorn/__main__.py", "hypercorn"),
        ("waitress-serve", "waitress"),
        ("granian.exe", "granian"),
        ("gunicorn", "gunicorn"),
        ("/usr/bin/daphne", "daphne"),
        ("manage.py", None),
        ("/srv/.venv/bin/pytest", None),
        ("", None),
    ],
)
def test_it_is_named_by_its_command(monkeypatch: pytest.MonkeyPatch, command: str, server: str | None) -> None:
    monkeypatch.setattr(sys, "argv", [command])
    assert running_server() == server


def test_uwsgi_is_known_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", sys)
    assert running_server() == "uwsgi"


@pytest.mark.parametrize("server", ["waitress", "daphne", "uwsgi"])
def test_no_adapter_is_promised_where_there_is_none(server: str) -> None:
    text = what_is_missing(server, chained=False)
    assert f"SIGTERM on {server} drops requests" in text
    assert "zdd drain --wait" in text
    assert "zdd serve" not in text
    assert ("--enable-threads" in text) == (server == "uwsgi")


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "hypercorn", "granian"])
def test_the_adapter_is_named(server: str) -> None:
    chained, alone = what_is_missing(server, chained=True), what_is_missing(server, chained=False)
    assert f"`zdd serve {server} …`" in chained
    assert f"`zdd serve {server} …`" in alone
    assert "serves on for drain_lag" in chained
    assert "stops at once" in alone
