"""Fixtures of the session flows."""

from __future__ import annotations

import pytest

from tests.flows.sessions.visitor import Visitor, key_of, make_sessions
from zdd_sdk.store.wire import Wire


@pytest.fixture
def sessions():
    return make_sessions()


@pytest.fixture
def visitor(flow, sessions):
    return Visitor(sessions, flow.store)


@pytest.fixture
def wire(engine):
    """A connection of the test's own, past every store."""
    with Wire(engine.port) as opened:
        yield opened


@pytest.fixture
def hash_of(wire):
    """The raw hash behind a cookie."""

    def read(cookie: str) -> dict[bytes, bytes]:
        flat = wire.ask("HGETALL", key_of(cookie))
        return dict(zip(flat[::2], flat[1::2], strict=True))

    return read
