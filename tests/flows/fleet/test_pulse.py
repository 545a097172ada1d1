"""The pulse on both stores and both engines: what it costs, says and learns, and what a broken registry means."""

from __future__ import annotations

import pytest

from zdd_sdk.errors import StoreReplyError
from zdd_sdk.fleet.calls import PAGE, look_call
from zdd_sdk.store import Call
from zdd_sdk.store.record import frame


def versions(view):
    return sorted(row.release.label for row in view.workers)


def test_a_pulse_is_one_trip_whatever_changed(flow, tap, worker):
    one, other = worker(), worker()
    flow(one.pulse(flow.store))
    for each in (one, other, one, other, one):
        tap.reset()
        flow(each.pulse(flow.store))
        assert tap.trips == 1
        assert len(tap.commands) == 1
        assert tap.commands[0] in ("EVALSHA", "EVAL")


def test_workers_see_one_another_and_join_in_two_pulses(flow, worker, settle):
    old, new = worker("1.0"), worker("2.0")
    assert flow(old.pulse(flow.store)).workers[0].state == "joining"
    flow(old.pulse(flow.store))
    assert flow(old.pulse(flow.store)).workers[0].state == "ready"
    settle(old, new)
    for each in (old, new):
        assert each.view.known
        assert versions(each.view) == ["1.0", "2.0"]
        assert {row.state for row in each.view.workers} == {"ready"}


def test_the_first_deployment_ever_is_unknown(flow, worker):
    view = flow(worker().pulse(flow.store))
    assert (view.known, view.why) == (False, "the registry is new")
    assert len(view.workers) == 1


def test_an_unchanged_fleet_answers_in_a_few_bytes(flow, worker, settle):
    one, other = settle(worker(), worker())
    reply = flow(asked(flow.store, one))
    assert (reply.epoch, reply.rows, reply.wanted) == ("", {}, False)
    other._lifecycle_state = lambda: "draining"
    flow(other.pulse(flow.store))
    reply = flow(asked(flow.store, one))
    assert {name: row.state for name, row in reply.rows.items()} == {other.worker: "draining"}


async def asked(store, worker):
    """What one pulse of this worker is answered; the worker does not take it."""
    (reply,) = await store.ask(worker._call(worker._row()))
    return reply


def test_a_state_change_reaches_the_others_with_the_next_pulse(flow, worker, settle):
    one, other = settle(worker(), worker())
    for state in ("draining", "stopping"):
        other._lifecycle_state = lambda state=state: state
        flow(other.pulse(flow.store))
        view = flow(one.pulse(flow.store))
        assert {row.worker: row.state for row in view.workers}[other.worker] == state


def test_goodbye_takes_a_worker_out_at_once(flow, worker, settle):
    one, other = settle(worker("1.0"), worker("2.0"))
    flow(other.goodbye(flow.store))
    flow(other.goodbye(flow.store))
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (True, ["1.0"])


def test_a_silent_worker_is_gone_after_its_ttl(flow, worker, settle, registry):
    one, other = settle(worker("1.0"), worker("2.0"))
    assert len(registry.members()) == 2
    registry.kill(other.worker)
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (True, ["1.0"])


def test_who_was_only_late_comes_back_by_itself(flow, worker, settle, registry):
    one, other = settle(worker("1.0"), worker("2.0"))
    registry.kill(other.worker)
    flow(one.pulse(flow.store))
    flow(other.pulse(flow.store))
    assert other.wanted
    flow(other.pulse(flow.store))
    assert not other.wanted
    assert versions(flow(one.pulse(flow.store))) == ["1.0", "2.0"]


@pytest.mark.parametrize(
    "names",
    [("meta", "alive", "rows", "changed"), ("meta",), ("alive",), ("rows",), ("changed",)],
    ids="+".join,
)
def test_a_flush_whole_or_in_part_is_unknown_and_nobody_is_reported_gone(flow, worker, settle, registry, names):
    one, other = settle(worker("1.0"), worker("2.0"))
    registry.drop(*names)
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["1.0", "2.0"])
    newcomer = flow(worker("3.0").pulse(flow.store))
    assert not newcomer.known
    for each in (other, one, other, one):
        view = flow(each.pulse(flow.store))
    assert not view.known
    assert len(registry.members()) == 3


def test_negative_control_a_registry_without_epochs_says_nobody_older_lives(engine, flow, worker, settle, registry):
    """The same flush, on a sorted set of expiries: the first pulse after it sees only itself, and believes it."""
    one, _ = settle(worker("1.0"), worker("2.0"))

    def naive_pulse(version):
        engine.ask("ZADD", "naive", 10, version)
        return {member.decode() for member in engine.ask("ZRANGE", "naive", 0, -1)}

    naive_pulse("1.0")
    assert naive_pulse("2.0") == {"1.0", "2.0"}
    engine.flush()
    assert naive_pulse("2.0") == {"2.0"}, "nobody older lives: false, 1.0 serves"
    view = flow(one.pulse(flow.store))
    assert not view.known
    assert "1.0" in versions(view)


def test_a_registry_nobody_could_reach_for_a_ttl_is_a_new_epoch(flow, worker, settle, registry):
    one, other = settle(worker("1.0"), worker("2.0"))
    epoch = one.view.epoch
    registry.silence(10_001)
    view = flow(worker("3.0").pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["3.0"])
    assert view.epoch != epoch
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["1.0", "2.0", "3.0"])
    assert view.why == "the registry was flushed or nobody could pulse"
    flow(other.pulse(flow.store))


def test_after_a_shorter_silence_nobody_is_declared_dead(flow, worker, settle, registry):
    """9 s of a paused server: every worker's time has run out, and all of them live."""
    one, other = settle(worker("1.0"), worker("2.0"))
    registry.silence(9_999 - 500)
    registry.kill(other.worker)
    view = flow(one.pulse(flow.store))
    assert versions(view) == ["1.0", "2.0"]
    assert flow(other.pulse(flow.store)).epoch == view.epoch
    assert not other.wanted


@pytest.mark.parametrize("jump", [60_000, -60_000])
def test_a_server_clock_that_jumps_is_a_new_epoch(flow, worker, settle, registry, jump):
    one, _ = settle(worker("1.0"), worker("2.0"))
    registry.set("last", int(registry.field("last")) + jump)
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["1.0", "2.0"])


def test_a_small_step_back_of_the_servers_clock_is_nothing(flow, worker, settle, registry):
    one, _ = settle(worker("1.0"), worker("2.0"))
    registry.set("last", int(registry.field("last")) + 500)
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (True, ["1.0", "2.0"])


def test_a_gap_in_our_own_pulses_is_unknown(flow, worker, settle, clocked):
    one, _ = settle(worker("1.0"), worker("2.0"))
    store = clocked(flow.store)
    assert flow(one.pulse(store)).known
    store.ahead += 10.5
    view = flow(one.pulse(store))
    assert (view.known, view.why) == (False, "our own pulses had a gap")
    for _ in range(4):
        store.ahead += 7.4
        assert not flow(one.pulse(store)).known
    store.ahead += 7.4
    assert flow(one.pulse(store)).known


def test_a_failover_that_lost_writes_is_unknown_and_heals_by_itself(flow, worker, settle, engine, registry):
    one, other = settle(worker("1.0"), worker("2.0"))
    generation = int(registry.field("generation"))
    engine.ask("ZREM", registry.key("alive"), other.worker)
    engine.ask("ZREM", registry.key("changed"), other.worker)
    engine.ask("HDEL", registry.key("rows"), other.worker)
    registry.set("generation", generation - 1)
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["1.0", "2.0"])
    for _ in range(2):
        flow(other.pulse(flow.store))
    assert not other.wanted
    assert len(registry.members()) == 2


def test_an_old_row_that_a_failover_brought_back_is_replaced(flow, worker, settle, engine, registry):
    one, other = settle(worker("1.0"), worker("2.0"))
    stored = engine.ask("HGET", registry.key("rows"), other.worker)
    other._lifecycle_state = lambda: "draining"
    flow(other.pulse(flow.store))
    engine.ask("HSET", registry.key("rows"), other.worker, stored)
    for _ in range(2):
        flow(other.pulse(flow.store))
    assert {row.worker: row.state for row in flow(one.pulse(flow.store)).workers}[other.worker] == "draining"


def test_while_the_store_is_away_nothing_is_claimed(flow, tap, worker, settle):
    one, _ = settle(worker("1.0"), worker("2.0"))
    tap.refuse()
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (False, ["1.0", "2.0"])
    assert one.away
    tap.heal()
    view = flow(one.pulse(flow.store))
    assert (view.known, versions(view)) == (True, ["1.0", "2.0"])


def test_a_pulse_whose_reply_was_lost_may_be_sent_again(flow, tap, worker, settle):
    one, other = settle(worker("1.0"), worker("2.0"))
    other._lifecycle_state = lambda: "draining"
    tap.drop_replies(1)
    flow(other.pulse(flow.store))
    flow(other.pulse(flow.store))
    view = flow(one.pulse(flow.store))
    assert sorted(row.state for row in view.workers) == ["draining", "ready"]


@pytest.mark.parametrize("name", ["meta", "alive", "rows", "changed"])
def test_a_key_of_a_wrong_type_makes_it_unknown_and_raises_nothing(flow, worker, settle, registry, name):
    one, _ = settle(worker("1.0"), worker("2.0"))
    registry.drop(name)
    registry.put("SET", name, "a string")
    view = flow(one.pulse(flow.store))
    assert not view.known
    registry.drop(name)
    assert flow(one.pulse(flow.store)).why


def test_rows_of_newer_releases_and_garbage_count_as_alive_but_opaque(flow, worker, settle, engine, registry):
    one, _ = settle(worker("1.0"), worker("2.0"))
    generation = int(registry.field("generation"))
    for number, data in enumerate([frame(b"later", format=2), b"garbage", b""], 1):
        name = f"stranger-{number}"
        engine.ask("HSET", registry.key("rows"), name, b"0" * 16 + data)
        engine.ask("ZADD", registry.key("alive"), 9_999_999_999_999, name)
        engine.ask("ZADD", registry.key("changed"), generation + number, name)
    registry.set("generation", generation + 3)
    view = flow(one.pulse(flow.store))
    assert view.known
    assert sorted(row.worker for row in view.workers if row.opaque) == ["stranger-1", "stranger-2", "stranger-3"]
    assert view.common("sessions") is None


def test_settings_are_kept_once_per_fingerprint_and_come_back_after_a_loss(flow, worker, settle, engine, registry):
    settle(worker("1.0"), worker("1.0"), worker("2.0"))
    names = [registry.key("settings") + ":print-1.0", registry.key("settings") + ":print-2.0"]
    assert engine.ask("EXISTS", *names) == 2
    one = worker("1.0")
    flow(one.pulse(flow.store))
    engine.ask("DEL", names[0])
    flow(one.pulse(flow.store))
    assert one.wanted
    flow(one.pulse(flow.store))
    assert engine.ask("EXISTS", *names) == 2


def test_every_key_expires_once_nobody_pulses(flow, worker, engine, settle):
    settle(worker())
    found = engine.ask("KEYS", "*")
    assert len(found) == 5
    for key in found:
        assert 3_000_000 < engine.ask("PTTL", key) <= 3_600_000
        assert b":fleet:{fleet}:" in key


def test_a_fleet_larger_than_a_page_is_unknown_until_it_is_read(flow, worker, registry, engine):
    one = worker()
    flow(one.pulse(flow.store))
    registry.age()
    generation = int(registry.field("generation"))
    for number in range(1, PAGE + 10):
        name = f"other-{number}"
        engine.ask("HSET", registry.key("rows"), name, b"0" * 16 + frame(b""))
        engine.ask("ZADD", registry.key("alive"), 9_999_999_999_999, name)
        engine.ask("ZADD", registry.key("changed"), generation + number, name)
    registry.set("generation", generation + PAGE + 9)
    newcomer = worker("2.0")
    view = flow(newcomer.pulse(flow.store))
    assert (view.known, view.why) == (False, "the registry is still being read")
    for _ in range(2):
        view = flow(newcomer.pulse(flow.store))
    assert len(view.workers) == PAGE + 11
    assert view.known


class Counting:
    """A part that asks three questions, of which only the first goes well."""

    name = "counting"

    def __init__(self, refused):
        self.refused = refused
        self.results = []

    def capabilities(self):
        return ("v1", "v2")

    def calls(self):
        return (
            Call(read=int, command=("INCR", "test:count"), keys=("test:count",)),
            Call(read=int, command=self.refused, keys=("test:count",)),
            Call(read=lambda reply: reply.nonsense, command=("GET", "test:count"), keys=("test:count",)),
        )

    def applied(self, results):
        self.results.append(list(results))


class Broken:
    """A part with nothing but bugs."""

    name = "broken"

    def capabilities(self):
        msg = "capabilities"
        raise RuntimeError(msg)

    def calls(self):
        msg = "calls"
        raise RuntimeError(msg)

    def applied(self, results):
        msg = "applied"
        raise RuntimeError(msg)


def test_parts_ride_on_the_same_trip_and_fail_alone(flow, tap, worker, caplog, engine):
    # fakeredis drops the connection on an error reply (traps.md), which is then nobody's alone.
    refused = ("INCR", "test:other") if engine.kind == "fakeredis" else ("LPUSH", "test:count", "x")
    counting = Counting(refused)
    one = worker(parts=[Broken(), counting])
    flow(one.pulse(flow.store))
    tap.reset()
    view = flow(one.pulse(flow.store))
    assert tap.trips == 1
    assert tap.commands[1:] == ["INCR", refused[0], "GET"]
    assert view.workers[0].capabilities == {"broken": (), "counting": ("v1", "v2")}
    count, second, misread = counting.results[-1]
    assert count == 2
    assert second == 2 or isinstance(second, StoreReplyError)
    assert isinstance(misread, AttributeError)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "part broken failed in the pulse; said once"
    ]


def test_a_look_changes_nothing(flow, worker, settle, engine, registry):
    settle(worker("1.0"), worker("2.0"))
    before = [engine.ask("HGETALL", registry.key("meta")), engine.ask("ZRANGE", registry.key("alive"), 0, -1)]
    (reply,) = flow(flow.store.ask(look_call(registry._keys)))
    assert sorted(row.release.label for row, _ in reply.workers) == ["1.0", "2.0"]
    assert before == [engine.ask("HGETALL", registry.key("meta")), engine.ask("ZRANGE", registry.key("alive"), 0, -1)]


def test_a_look_at_nothing_creates_nothing(flow, engine, keys):
    (reply,) = flow(flow.store.ask(look_call(keys)))
    assert (reply.epoch, reply.workers) == ("", ())
    assert engine.ask("KEYS", "*") == []
