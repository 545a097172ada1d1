"""Two requests at a time on one browser, against a model made of dicts (Hypothesis, stateful)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.flows.sessions.visitor import Visitor, make_sessions

NAMES = ("a", "b", "c")
USERS = ("ada", "bob")


@dataclass
class Record:
    """A session as the model has it."""

    fields: dict[str, Any]
    user: str | None = None
    marker: bool = False
    emptied: bool = False
    device: int | None = None


@dataclass
class Request:
    """One of two requests under way, and what the model knows of it."""

    exchange: Any
    session: Any
    number: int | None
    before: dict[str, Any]
    user: str | None
    read_only: bool
    now: dict[str, Any] = field(default_factory=dict)
    login: bool = False
    keep: bool = True
    logout: bool = False
    from_marker: bool = False
    loaded: Record = field(default_factory=lambda: Record({}))

    @property
    def sets(self):
        return {name: value for name, value in self.now.items() if self.before.get(name) != value}

    @property
    def deletes(self):
        return self.before.keys() - self.now.keys()


class Machine(RuleBasedStateMachine):
    """The rules; `flow` and `store` are set by the test."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow
        self.visitor = Visitor(make_sessions(), flow.store)
        self.records: dict[int, Record] = {}
        self.cookie: int | None = None
        self.count = 0
        self.cookies: dict[int, str] = {}
        self.listed: dict[int | None, int] = {}
        """Which session each device is in by now."""
        self.requests: list[Request] = []

    def create(self, record):
        self.count += 1
        self.records[self.count] = record
        return self.count

    @initialize(fields=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), min_size=1))
    def begin_with_two_requests_on_one_session(self, fields):
        self.arrive()
        for name, value in fields.items():
            self.assign(0, name, value)
        self.answer(0, 200)
        self.arrive()
        self.arrive()

    @precondition(lambda self: len(self.requests) < 2)
    @rule()
    def arrive(self):
        exchange = self.visitor.exchange()
        session = self.flow(self.visitor.sessions.load(exchange))
        record = self.records.get(self.cookie)
        number = self.cookie if record else None
        record = record or Record({})
        assert (session.user, dict(session), session.read_only) == (record.user, record.fields, record.marker)
        fields = copy.deepcopy(record.fields)
        request = Request(exchange, session, number, fields, record.user, record.marker, copy.deepcopy(fields))
        request.from_marker, request.loaded = record.marker, copy.deepcopy(record)
        self.requests.append(request)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1), name=st.sampled_from(NAMES), value=st.integers(0, 3) | st.lists(st.integers(0, 3)))
    def assign(self, which, name, value):
        request = self.requests[which % len(self.requests)]
        if not request.read_only:
            request.session[name] = value
            request.now[name] = copy.deepcopy(value)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1), name=st.sampled_from(NAMES))
    def change_inside(self, which, name):
        request = self.requests[which % len(self.requests)]
        if isinstance(request.now.get(name), list) and not request.read_only:
            request.session[name].append(7)
            request.now[name].append(7)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1), name=st.sampled_from(NAMES))
    def drop(self, which, name):
        request = self.requests[which % len(self.requests)]
        if name in request.now and not request.read_only:
            del request.session[name]
            del request.now[name]

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1), user=st.sampled_from(USERS))
    def log_in(self, which, user):
        request = self.requests[which % len(self.requests)]
        request.session.login(user)
        if request.user not in {None, user}:
            request.now, request.keep = {}, False
        request.user, request.login, request.read_only = user, True, False

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1))
    def log_out(self, which):
        request = self.requests[which % len(self.requests)]
        request.session.logout()
        request.logout, request.login, request.keep, request.read_only = True, False, True, False
        request.before, request.now, request.user = {}, {}, None

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 1), status=st.sampled_from([200] * 7 + [500]))
    def answer(self, which, status):
        request = self.requests.pop(which % len(self.requests))
        had_cookie = request.exchange.header("cookie") is not None
        reply = self.flow(self.visitor.depart(request.exchange, status))
        assert reply.status == status
        self.visitor.receive(reply)
        started = self.model_of(request, status)
        if started is not None:
            self.cookie = started
        elif request.logout and had_cookie:
            self.cookie = None
        assert (self.visitor.cookie is None) == (self.cookie is None)
        if self.cookie is not None:
            self.cookies[self.cookie] = self.visitor.cookie
        self.compare_all()

    def compare_all(self):
        """Every id ever given out reads what the model says, also those the browser has forgotten."""
        for number, cookie in self.cookies.items():
            prober = Visitor(self.visitor.sessions, self.flow.store, cookie)
            session = self.flow(self.visitor.sessions.load(prober.exchange()))
            record = self.records.get(number) or Record({})
            assert (session.user, dict(session), session.read_only) == (record.user, record.fields, record.marker)

    @precondition(lambda self: len(self.requests) == 2)
    @rule(name=st.sampled_from(NAMES), value=st.integers(4, 6), user=st.sampled_from(USERS))
    def overtake_a_login(self, name, value, user):
        """The race that chance seldom plays: another request saves between a login's load and its leave."""
        self.assign(1, name, value)
        self.log_in(0, user)
        self.answer(1, 200)
        self.answer(0, 200)

    def model_of(self, request, status):
        """Apply a request to the model; the number of the session it started, if any."""
        if request.logout and request.number is not None:
            begins = status < 500 and (request.login or request.now)
            self.end_heir(request.number)
            if self.records.pop(request.number, None) is not None and begins:
                self.records[request.number] = Record({}, marker=True, emptied=True)
            request.number = None
        if status >= 500 or request.read_only:
            return None
        if request.login:
            return self.model_login(request)
        if request.number is None:
            return self.create(Record(request.now)) if request.now else None
        record = self.records.get(request.number)
        if record is not None and not record.marker:
            record.fields.update(request.sets)
            for name in request.deletes:
                record.fields.pop(name, None)
        return None

    def end_heir(self, number):
        """Who ends what another request has given a new id means that one, too."""
        record = self.records.get(number)
        current = self.listed.get(record.device) if record is not None and record.device is not None else None
        if current is not None and (current == number or (record.marker and not record.emptied)):
            del self.listed[record.device]
            if current != number:
                self.records.pop(current)

    def model_login(self, request):
        fields = dict(request.now)
        old = self.records.get(request.number)
        if old is not None and request.keep and not (request.from_marker or old.emptied):
            others = {name for name in NAMES if old.fields.get(name) != request.before.get(name)}
            for name in others - request.sets.keys() - request.deletes:
                fields.pop(name, None)
                if name in old.fields:
                    fields[name] = old.fields[name]
        same = request.number is not None and request.keep and request.loaded.user == request.user
        if old is not None and not request.from_marker and not same:
            self.end_heir(request.number)
        if old is not None and not request.from_marker and not (old.marker and request.keep):
            kept = Record(copy.deepcopy(old.fields), old.user) if request.keep else Record({})
            self.records[request.number] = Record(
                kept.fields, kept.user, marker=True, emptied=not request.keep, device=old.device
            )
        number = self.create(Record(copy.deepcopy(fields), request.user))
        self.records[number].device = request.loaded.device if same else number
        self.listed[self.records[number].device] = number
        return number


def test_two_requests_at_a_time(flow):
    run_state_machine_as_test(
        lambda: Machine(flow),
        settings=settings(
            max_examples=60, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
