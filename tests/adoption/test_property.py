"""Interleavings of two neighbouring releases over a model of both stores: nothing acknowledged is lost or undone."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adoption.world import Browser, Release, Service, World, race, run
from zdd_sdk.store.blocking import BlockingStore

LADDER: list[tuple[Release, Release]] = [("none", "mirror"), ("mirror", "lead"), ("lead", "final")]
MODEST = settings(
    max_examples=int(os.environ.get("ZDD_TEST_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FIELDS = ("a", "b")

requests = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(FIELDS), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.sampled_from(FIELDS), st.just(0)),
    st.tuples(st.just("login"), st.sampled_from(("ada", "bob")), st.just(0)),
    st.tuples(st.just("logoff"), st.just(""), st.just(0)),
    st.tuples(st.just("logout"), st.just(""), st.just(0)),
    st.tuples(st.just("read"), st.just(""), st.just(0)),
)
moves = st.tuples(st.sampled_from(("up", "down", "redis", "legacy")), st.just(""), st.just(0))
scripts = st.lists(st.tuples(st.one_of(requests, requests, requests, moves), st.integers(0, 1)), max_size=30)


@pytest.fixture
def engine(real_engine):
    """Only the real one: many small runs, and what is judged here is not the engine."""
    return real_engine


@pytest.fixture
def store(stores):
    return stores.blocking


def act(request: tuple[str, str, int]):
    kind, name, value = request

    def application(values: dict[str, Any]) -> None:
        if kind == "write":
            values[name] = value
        elif kind == "delete":
            values.pop(name, None)
        elif kind == "login":
            if values.get("user") not in {None, name}:
                values.clear()
            values["user"] = name
        elif kind == "logoff":
            values.pop("user", None)
        elif kind == "logout":
            values.clear()

    return application


class History:
    """One user, whose requests come one after the other, through deployments and outages."""

    def __init__(self, store: BlockingStore, *, in_browser: bool) -> None:
        self.world = World(store, in_browser)
        self.services = {name: Service(self.world, name) for name in ("none", "mirror", "lead", "final")}
        self.browser, self.expected = Browser(), dict[str, Any]()
        self.perhaps: list[dict[str, Any]] = []
        self.rung = 0

    def step(self, request: tuple[str, str, int], which: int) -> None:
        kind = request[0]
        if kind in {"redis", "legacy"}:
            self.toggle(kind)
        elif kind in {"up", "down"}:
            self.move(1 if kind == "up" else -1)
        else:
            self.ask(LADDER[self.rung][which], request)

    def toggle(self, kind: str) -> None:
        if self.world.redis_away or self.world.legacy_away:
            self.world.redis_away = self.world.legacy_away = False
            return
        self.visit()  # one store at a time is what is promised: the other must have been seen since its last outage
        self.world.redis_away, self.world.legacy_away = kind == "redis", kind == "legacy"

    def move(self, by: int) -> None:
        rung = min(max(self.rung + by, 0), len(LADDER) - 1)
        if rung < self.rung == 1:
            self.world.redis_away = self.world.legacy_away = False
            self.visit()  # what `zdd uninstall --check` asks for: nobody whose session is only ours
        self.rung = rung

    def visit(self) -> None:
        """Let an instance that sees both stores see this user."""
        self.ask(LADDER[self.rung][1 if self.rung == 0 else 0], ("read", "", 0))

    def ask(self, release: Release, request: tuple[str, str, int]) -> None:
        answer = run(self.services[release].handle(self.browser.cookies, act(request)))
        if answer.failed:
            assert self.world.redis_away or self.world.legacy_away, release
            self.perhaps.append(self.expected | {})  # what was answered with an error may have been kept, or not
            act(request)(self.perhaps[-1])
            return
        assert answer.seen in [self.expected, *self.perhaps], (release, request)
        self.expected, self.perhaps = answer.seen | {}, []
        act(request)(self.expected)
        self.browser.take(answer)


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@MODEST
@given(script=scripts)
def test_one_request_after_the_other_loses_nothing(store, in_browser, script):
    history = History(store, in_browser=in_browser)
    for request, which in script:
        history.step(request, which)
    history.world.redis_away = history.world.legacy_away = False
    for release in LADDER[history.rung]:
        history.ask(release, ("read", "", 0))


PAIRS = [("mirror", "mirror"), ("mirror", "lead"), ("lead", "lead"), ("lead", "final"), ("final", "final")]


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@MODEST
@given(
    pair=st.sampled_from(PAIRS),
    order=st.lists(st.integers(0, 2), max_size=40),
    first=st.booleans(),
    start=st.sampled_from(["none", "here", "outside", "final"]),
)
def test_parallel_writes_of_different_fields_are_both_kept(store, in_browser, pair, order, first, start):  # noqa: PLR0917
    """Also where the framework, whose blob the last writer owns, would lose one of them."""
    history = History(store, in_browser=in_browser)
    history.ask({"none": "none", "final": "final"}.get(start, pair[0]), ("login", "ada", 0))
    if start == "none":
        history.ask(pair[0], ("read", "", 0))
    if start == "outside":
        history.ask("mirror", ("write", "a", 3))
        for request in (("write", "a", 4), ("write", "b", 4)):
            history.ask("none", request)
    history.world.interleave = True
    writes = [("write", "a", 1), ("write", "b", 2)]
    asked = [
        history.services[release].handle(dict(history.browser.cookies), act(write))
        for release, write in zip(pair, writes, strict=True)
    ]
    asked.append(history.services[pair[0]].handle(dict(history.browser.cookies), act(("read", "", 0))))
    answers = race(asked, order)
    history.world.interleave = False
    for answer in answers if first else reversed(answers):
        assert not answer.failed
        history.browser.take(answer)
    history.expected |= {"a": 1, "b": 2}
    for release in (*pair, *reversed(pair)):
        history.ask(release, ("read", "", 0))


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@MODEST
@given(pair=st.sampled_from(PAIRS), order=st.lists(st.integers(0, 1), max_size=40), first=st.booleans())
def test_a_logout_is_not_undone_by_a_parallel_request(store, in_browser, pair, order, first):
    history = History(store, in_browser=in_browser)
    history.ask(pair[0], ("login", "ada", 0))
    history.ask(pair[1], ("read", "", 0))
    history.ask(pair[0], ("read", "", 0))
    history.world.interleave = True
    # a cookie that a parallel request writes is the browser's: only where the framework has rows can it be taken back
    other = ("read", "", 0) if in_browser else ("write", "a", 1)
    asked = [
        history.services[release].handle(dict(history.browser.cookies), act(request))
        for release, request in zip(pair, [("logout", "", 0), other], strict=True)
    ]
    answers = race(asked, order)
    history.world.interleave = False
    for answer in answers if first else reversed(answers):
        history.browser.take(answer)
    answer = run(history.services[pair[0]].handle(history.browser.cookies, act(("read", "", 0))))
    assert "user" not in answer.seen


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@MODEST
@given(
    pair=st.sampled_from([("mirror", "mirror"), ("mirror", "lead"), ("lead", "lead"), ("lead", "final")]),
    order=st.lists(st.integers(0, 2), max_size=60),
    first=st.booleans(),
    before=st.lists(st.sampled_from(["login", "write", "logoff", "logout"]), min_size=1, max_size=4),
    requests=st.lists(st.sampled_from(["read", "write"]), min_size=3, max_size=3),
)
def test_a_login_elsewhere_is_not_lost_to_parallel_requests(store, in_browser, pair, order, first, before, requests):  # noqa: PLR0917
    """Whatever they keep of one another's writes: each finds a login without the SDK, and gives it a new id."""
    history = History(store, in_browser=in_browser)
    for kind in before:
        history.ask("mirror", (kind, "ada" if kind == "login" else "a", 1))
    for kind in ("logout", "login"):
        history.ask("none", (kind, "ada", 0))
    history.world.interleave = True
    asked = [
        history.services[release].handle(dict(history.browser.cookies), act((kind, name, 2)))
        for release, kind, name in zip((*pair, pair[0]), requests, ("a", "b", "c"), strict=True)
    ]
    answers = race(asked, order)
    history.world.interleave = False
    for answer in answers if first else reversed(answers):
        history.browser.take(answer)
    for release in (*pair, *reversed(pair)):
        answer = run(history.services[release].handle(history.browser.cookies, act(("read", "", 0))))
        history.browser.take(answer)
        assert answer.seen.get("user") == "ada"


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@pytest.mark.parametrize("release", ["mirror", "lead", "final"])
def test_a_copy_that_ended_under_final_is_no_logout(store, in_browser, release):
    """Nobody writes it any more, so it grows old and is gone one day; a step back has it written anew."""
    history = History(store, in_browser=in_browser)
    history.ask("lead", ("login", "ada", 0))
    history.ask("final", ("write", "a", 1))
    del history.browser.cookies["legacy"]
    history.ask(release, ("read", "", 0))
    assert release == "final" or "legacy" in history.browser.cookies


@pytest.mark.parametrize("in_browser", [False, True], ids=["row", "cookie"])
@pytest.mark.parametrize("release", ["mirror", "lead", "final"])
def test_control_a_copy_that_ended_before_final_is_a_logout(store, in_browser, release):
    history = History(store, in_browser=in_browser)
    history.ask("lead", ("login", "ada", 0))
    del history.browser.cookies["legacy"]
    history.expected = {}
    history.ask(release, ("read", "", 0))
    assert history.browser.cookies == {}
