"""A path to a principal that leads nowhere: nobody to the client, and said in the log."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from zdd_sdk.errors import IdempotencyPrincipalMissing
from zdd_sdk.idempotency.scope import principal_reader

USER = SimpleNamespace(id=None)


@pytest.mark.parametrize(
    ("path", "said"), [("user.idd", ["pay: principal='user.idd' leads nowhere"]), ("user.id", [])], ids=str
)
def test_a_misspelled_path_is_said_once(path: str, said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    read = principal_reader(path, ["user"], "pay")
    with caplog.at_level(logging.WARNING, logger="zdd.idempotency"):
        for _ in range(2):
            with pytest.raises(IdempotencyPrincipalMissing):
                read({"user": USER})
    assert [message.partition(" in a request")[0] for message in caplog.messages] == said
