"""The same life of a key on a Cluster, under the least privilege, and with replies that are lost on the way."""

from __future__ import annotations

import msgspec
import pytest

from tests.flows.idempotency.conftest import DAY, SAME, make_calls, token
from zdd_sdk.idempotency.answer import StoredAnswer
from zdd_sdk.idempotency.model import Busy, Mismatch, Owned, Replay, Unknown
from zdd_sdk.settings import StoreSettings
from zdd_sdk.store import Keys, finish
from zdd_sdk.store.acl import acl_line
from zdd_sdk.store.connect import Stores
from zdd_sdk.store.wire import Wire

CALLS = make_calls()
MINE, THEIRS = token(1), token(2)
ANSWER = StoredAnswer(200, (("etag", "1"),), bytes(range(256)) * 3)


def claim(name, run, effects="unsafe", fingerprints=SAME, **said):
    return CALLS.claim(name, run, fingerprints, effects, "pay", retention=DAY, **said)


def live(ask, name):
    """Every call once, and what it must say."""
    opened, owned, busy, other = ask(
        CALLS.opened(name, DAY), claim(name, MINE), claim(name, THEIRS), claim(name, THEIRS, fingerprints=("x.y.z",))
    )
    assert opened
    assert [type(verdict) for verdict in (owned, busy, other)] == [Owned, Busy, Mismatch]
    assert (
        ask(CALLS.renew(name, MINE), CALLS.checkpoint(name, MINE, "charged"), CALLS.handoff(name, MINE)) == (True,) * 3
    )
    unknown, taken = ask(claim(name, THEIRS), claim(name, THEIRS, take_unknown=True))
    assert isinstance(unknown, Unknown)
    assert taken.point == "charged"
    assert ask(CALLS.hold(name, THEIRS, "failed"), CALLS.release(name, THEIRS)) == (True, False)
    assert ask(CALLS.list_open(), CALLS.resolve(name, taken.generation, None, "ada"))[1]
    ask(claim(name, MINE))
    assert ask(CALLS.complete(name, MINE, ANSWER), CALLS.closed(name)) == (True, 1)
    (replay,) = ask(claim(name, THEIRS))
    assert isinstance(replay, Replay)
    assert replay.answer == ANSWER
    shown, gone = ask(CALLS.show(name), CALLS.purge(name))
    assert shown.body
    assert gone


def asking(url):
    store = Stores(
        StoreSettings(redis_url=url, connect_timeout=5, operation_timeout=5, total_timeout=10), Keys("t", "t")
    )
    return store, lambda *calls: finish(store.blocking.ask(*calls))


def test_on_a_cluster(cluster):
    stores, ask = asking(cluster)
    for number in range(20):
        live(ask, f"{number:043}")
    stores.close()


@pytest.mark.parametrize("engine", ["real"], indirect=True)
def test_under_the_least_privilege(engine):
    with Wire(engine.port) as wire:
        wire.ask("ACL", "SETUSER", *acl_line("test", "test", user="zdd", password="secret").split()[1:])
        stores, ask = asking(f"redis://zdd:secret@127.0.0.1:{engine.port}")
        live(ask, "n" * 43)
        stores.close()
        wire.ask("ACL", "DELUSER", "zdd")


@pytest.mark.parametrize("name", ["claim", "renew", "complete", "release", "hold", "handoff", "resolve"])
def test_a_lost_reply_changes_nothing(flow, tap, place, name):
    """Redis has run it, nobody has heard of it; the store asks again."""
    name_of = place.record[place.record.index("{") + 1 : place.record.index("}")]
    (owned,) = flow(flow.store.ask(claim(name_of, MINE)))
    calls = {
        "claim": claim("o" * 43, MINE),
        "renew": CALLS.renew(name_of, MINE),
        "complete": CALLS.complete(name_of, MINE, ANSWER),
        "release": CALLS.release(name_of, MINE),
        "hold": CALLS.hold(name_of, MINE, "failed"),
        "handoff": CALLS.handoff(name_of, MINE),
        "resolve": CALLS.resolve(name_of, owned.generation, ANSWER, "ada"),
    }
    if name == "resolve":
        place.lapse()
    tap.reset()
    tap.drop_replies(1)
    (result,) = flow(flow.store.ask(calls[name]))
    assert isinstance(result, Owned) if name == "claim" else result is True
    assert tap.trips == 2


def test_control_sent_once_only_it_is_an_error(flow, tap):
    once = msgspec.structs.replace(claim("o" * 43, MINE), again=False)
    tap.drop_replies(1)
    with pytest.raises(ConnectionError):
        flow(flow.store.ask(once))
