"""`Fleet` as a process has it: its thread, forks, faults and the end. Intervals are compressed twentyfold."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from zdd_sdk.fleet import Fleet
from zdd_sdk.release import detect_release
from zdd_sdk.settings import FleetSettings, ReleaseSettings, StoreSettings
from zdd_sdk.store.connect import Stores

PULSE, TTL = 0.1, 1.0
PROCESS = Path(__file__).with_name("member_process.py")


def until(condition, timeout=15.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def labels(fleet):
    return [release.label for release in fleet.view.releases()]


@pytest.fixture
def url(real_engine):
    return real_engine.url


@pytest.fixture
def member(keys, url):
    """Build a member: ``member("1.0")``; stopped after the test."""
    built = []
    numbers = itertools.count(1)

    def build(version="1.0", *, state=lambda: "ready", at=url, store=None, **settings):
        options = {"role": "web", "pulse": PULSE, "ttl": TTL} | settings
        fleet = None
        stores = Stores(StoreSettings(redis_url=at), keys, on_breaker_open=lambda: fleet and fleet.wake())
        fleet = Fleet(
            FleetSettings(**options),
            keys,
            store or (lambda: stores.blocking),
            release=detect_release(ReleaseSettings(version=version), "test", environ={}),
            instance=f"i{next(numbers)}",
            fingerprint=f"print-{version}",
            shown={"release.version": version},
            lifecycle_state=state,
        )
        built.append((fleet, stores))
        return fleet

    yield build
    for fleet, stores in built:
        fleet.stop()
        stores.close()


def test_nothing_starts_before_start(member, url, open_tap):
    tap = open_tap(url)
    threads = threading.active_count()
    fleet = member(at=tap.url)
    assert not fleet.running
    assert not fleet.view.known
    time.sleep(0.2)
    assert (threading.active_count(), tap.trips, tap.connections) == (threads, 0, 0)


@pytest.mark.parametrize("settings", [{"role": "shell"}, {"role": "test"}, {"role": "auto"}, {"enabled": False}])
def test_shells_tests_and_the_switched_off_never_pulse(member, settings):
    fleet = member(**settings)
    assert not fleet.start()
    fleet.on_request()
    fleet.wake()
    assert not fleet.running


def test_two_members_come_to_know_one_another(member):
    one, other = member("1.0"), member("2.0")
    assert one.start()
    assert one.start()
    other.start()
    until(lambda: one.view.known and other.view.known)
    assert labels(one) == labels(other) == ["1.0", "2.0"]


def test_a_goodbye_is_seen_long_before_the_ttl(member):
    one, other = member("1.0", ttl=60.0), member("2.0", ttl=60.0)
    one.start()
    other.start()
    until(lambda: labels(one) == labels(other) == ["1.0", "2.0"])
    other.stop()
    until(lambda: labels(one) == ["1.0"])
    assert other.view.workers == ()


def test_known_takes_three_ttls_after_the_first_deployment(member):
    started = time.monotonic()
    one = member()
    one.start()
    until(lambda: one.view.known)
    assert time.monotonic() - started >= 3 * TTL


def test_a_pulse_is_one_trip_per_interval(member, url, open_tap):
    tap = open_tap(url)
    one = member(at=tap.url, pulse=0.2, ttl=2.0)
    one.start()
    until(lambda: one.view.workers and one.view.workers[0].state == "ready")
    tap.reset()
    time.sleep(2.0)
    assert 4 <= tap.trips <= 13
    assert tap.trips == len(tap.commands)


def test_a_flush_is_unknown_then_known_and_nobody_was_ever_gone(member, real_engine):
    one, other = member("1.0"), member("2.0")
    one.start()
    other.start()
    until(lambda: one.view.known and other.view.known)
    real_engine.flush()
    flushed = time.monotonic()
    until(lambda: not one.view.known)
    while not one.view.known:
        assert labels(one) == ["1.0", "2.0"]
        time.sleep(0.01)
    assert time.monotonic() - flushed >= 3 * TTL
    assert labels(one) == ["1.0", "2.0"]


def test_a_paused_redis_is_unknown_then_known(member, real_engine):
    one, other = member("1.0"), member("2.0")
    one.start()
    other.start()
    until(lambda: one.view.known and other.view.known)
    real_engine.pause()
    time.sleep(1.5 * TTL)
    assert not one.view.known
    real_engine.resume()
    resumed = time.monotonic()
    newcomer = member("3.0")
    newcomer.start()
    until(lambda: newcomer.view.workers)
    while not newcomer.view.known:
        assert labels(one)[:2] == ["1.0", "2.0"], "a live worker was reported gone"
        time.sleep(0.01)
    assert time.monotonic() - resumed >= 2.9 * TTL
    assert labels(newcomer) == ["1.0", "2.0", "3.0"]
    until(lambda: one.view.known)
    assert labels(one) == ["1.0", "2.0", "3.0"]


def test_while_redis_refuses_the_thread_probes_and_comes_back_soon(member, url, open_tap):
    tap = open_tap(url)
    one = member(at=tap.url, pulse=5.0, ttl=20.0)
    one.start()
    until(lambda: one.view.workers)
    tap.refuse()
    one.wake()
    until(lambda: "cannot be asked" in one.view.why)
    time.sleep(1.0)
    tap.heal()
    until(lambda: "cannot be asked" not in one.view.why, 2.0)


def test_a_redis_that_is_full_makes_it_unknown_until_it_has_room(member, real_engine):
    one = member()
    one.start()
    until(lambda: one.view.known)
    real_engine.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    real_engine.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        until(lambda: "OOM" in one.view.why)
        assert labels(one) == ["1.0"]
    finally:
        real_engine.ask("CONFIG", "SET", "maxmemory", "0")
    until(lambda: one.view.known)


def test_a_state_change_does_not_wait_for_the_interval(member):
    state = ["ready"]
    one = member("1.0", state=lambda: state[0], pulse=5.0, ttl=20.0)
    watcher = member("2.0")
    watcher.start()
    one.start()
    time.sleep(0.3)
    one.wake()
    until(lambda: "ready" in {row.state for row in watcher.view.workers if row.release.label == "1.0"}, 3.0)
    state[0] = "draining"
    until(lambda: "draining" in {row.state for row in watcher.view.workers}, 2.0)


def test_an_old_answer_is_not_believed(member):
    """As after a SIGSTOP of this process, before its next pulse."""
    one = member()
    one.start()
    until(lambda: one.view.known)
    held = one.view
    one._thread._interval = 60.0
    until(lambda: not one.view.known, 5.0)
    assert held.known
    assert "older than the TTL" in one.view.why


def test_request_mode_pulses_with_requests_and_is_idle_not_dead_between(member, url, open_tap):
    tap = open_tap(url)
    one = member("1.0", at=tap.url, pulse_mode="request", pulse=0.5, ttl=2.0)
    watcher = member("2.0")
    watcher.start()
    one.on_request()
    until(lambda: (one.view.workers and one.view.workers[0].state != "joining") or one.on_request())
    time.sleep(1.0)
    tap.reset()
    time.sleep(1.5 * TTL)
    assert tap.trips == 0
    assert "1.0" in labels(watcher)
    one.on_request()
    until(lambda: tap.trips == 1)
    one.on_request()
    time.sleep(0.03)
    assert tap.trips == 1


def test_the_first_request_starts_it_and_one_after_the_end_does_not(member):
    one = member()
    one.on_request()
    assert one.running
    one.stop()
    one.on_request()
    assert not one.running
    assert one.start()


def test_a_request_costs_next_to_nothing(member):
    one = member()
    one.start()
    best = min(timed(one.on_request, 2000) for _ in range(5))
    assert best < 5e-6


def timed(function, count):
    start = time.process_time()
    for _ in range(count):
        function()
    return (time.process_time() - start) / count


def test_a_store_that_is_not_configured_is_said_once(member, caplog):
    one = member(at="off")
    one.start()
    until(lambda: caplog.records)
    until(lambda: "off" in one.view.why or "store" in one.view.why)
    assert len([record for record in caplog.records if record.name == "zdd.fleet"]) == 1


def test_a_bug_in_the_state_does_not_end_the_pulse(member, caplog):
    calls = []

    def state():
        calls.append(len(calls))
        if calls[-1] % 3 == 1:
            message = "a bug"
            raise RuntimeError(message)
        return "ready"

    one = member(state=state)
    one.start()
    until(lambda: len(calls) > 20)
    assert one.running
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "the pulse failed; each next one tries again"
    ]


@pytest.fixture
def process(url):
    """Start a member in a process of its own; killed after the test."""
    started = []

    def start(*words):
        child = subprocess.Popen(
            (sys.executable, str(PROCESS), url, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=Path(__file__).parents[3],
        )
        started.append(child)
        return child

    yield start
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=10)


def said(child):
    return json.loads(child.stdout.readline())


def test_a_killed_process_is_gone_after_its_ttl(member, process):
    watcher = member("1.0")
    watcher.start()
    child = process("2.0")
    worker = said(child)["worker"]
    until(lambda: worker in {row.worker for row in watcher.view.workers})
    until(lambda: watcher.view.known)
    child.kill()
    killed = time.monotonic()
    until(lambda: worker not in {row.worker for row in watcher.view.workers}, 4 * TTL)
    assert time.monotonic() - killed >= TTL / 2
    until(lambda: watcher.view.known)


def test_a_stopped_process_is_gone_and_comes_back_when_it_goes_on(member, process):
    watcher = member("1.0")
    watcher.start()
    child = process("2.0")
    worker = said(child)["worker"]
    until(lambda: worker in {row.worker for row in watcher.view.workers})
    child.send_signal(signal.SIGSTOP)
    until(lambda: worker not in {row.worker for row in watcher.view.workers}, 4 * TTL)
    child.send_signal(signal.SIGCONT)
    until(lambda: worker in {row.worker for row in watcher.view.workers})


def test_a_forked_child_is_a_worker_of_its_own_and_the_parent_goes_on(member, process):
    watcher = member("1.0")
    watcher.start()
    child = process("2.0", "fork")
    lines = {line["who"]: line for line in (said(child) for _ in range(3))}
    assert lines["after"] | {"who": ""} == {
        "who": "",
        "worker": lines["parent"]["worker"],
        "pid": lines["parent"]["pid"],
        "same": True,
        "running": True,
    }
    forked = lines["child"]
    assert (forked["running"], forked["known"], forked["same"]) == (False, False, False)
    assert forked["worker"] != lines["parent"]["worker"]
    both = {lines["parent"]["worker"], forked["worker"]}
    until(lambda: both <= {row.worker for row in watcher.view.workers})
    time.sleep(1.5 * TTL)
    found = {row.worker: row.pid for row in watcher.view.workers}
    assert found[forked["worker"]] == forked["pid"]
    assert found[lines["parent"]["worker"]] == lines["parent"]["pid"]
