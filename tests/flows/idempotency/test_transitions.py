"""The scripts against the pure transitions: same verdict, same record, over random histories (Hypothesis, stateful)."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.flows.idempotency.conftest import DAY, NAME, Place, make_calls, token
from zdd_sdk.idempotency import transitions
from zdd_sdk.idempotency.answer import StoredAnswer, encode
from zdd_sdk.idempotency.model import Completion, Newer, Record, Unknown, read_record

PROCESSES = (make_calls("web-1", "1.0"), make_calls("web-2", "1.1"))
FINGERPRINTS = (
    ("j1.kid1.one",),
    ("j1.kid1.one", "s1.kid1.short"),
    ("s1.kid1.short", "r1.kid1.raw"),
    ("j1.kid2.one",),
    ("j1.kid1.two", "s1.kid1.other"),
)
ANSWERS = (
    None,
    StoredAnswer(204),
    StoredAnswer(201, (("location", "/orders/1"),), b"{}" * 100),
    StoredAnswer(200, (("link", "<" + "x" * 2000 + ">"),), b"x" * 5000),
    StoredAnswer(200, (("content-type", "image/png"),), os.urandom(3000)),
)
HOLDER = 3
RUNS = st.sampled_from((HOLDER, HOLDER, HOLDER, 0, 1, 2))
EFFECTS = st.sampled_from(("unsafe", "unsafe", "db", "external", "pure"))
SAID = st.tuples(
    st.integers(0, 1),
    st.none() | st.none() | EFFECTS,
    st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4)),
    st.sampled_from((False, False, False, True)),
)
SLACK = 10_000
"""ms for which a busy machine may stand still between a script and the look at what it has left."""


class Machine(RuleBasedStateMachine):
    """The rules; `place` and `ask` are set by the test."""

    def __init__(self, place: Place, ask):
        super().__init__()
        self.place, self.ask = place, ask
        self.model, self.body, self.unreadable = None, None, None
        self.count, self.effects = 3, "unsafe"
        self.tokens = [token(number) for number in range(3)]
        self.requests = {}
        place.wire.ask("DEL", place.record, place.body)

    def token(self, run):
        """The token of a run, or of whichever holds the key: most histories are its."""
        held = getattr(self.model, "token", b"")
        return self.tokens[run] if run != HOLDER else held or self.tokens[0]

    def both(self, call, transition, twice):
        """Ask Redis and the model; once more, as after a lost reply."""
        first = self.once(call, transition)
        if twice:
            again = self.once(call, transition)
            if isinstance(first, bool):
                assert again == first
            elif isinstance(first, Unknown):
                assert msgspec.structs.replace(first, fresh=False) == again
        return first

    def once(self, call, transition):
        now, told = self.ask(call)
        self.model, expected = transition(self.model, now)
        assert told == expected
        self.compare(now)
        return told

    def compare(self, now):
        found = self.place.read()
        assert found == self.model
        if not isinstance(found, Record) or found.state != "C":
            return
        assert self.place.wire.ask("GET", self.place.body) == self.body
        left = self.place.wire.ask("PTTL", self.place.record)
        assert abs(left - (found.ends - now)) <= SLACK

    def request(self, run, process, effects, fingerprints, take):
        """What a run claims; the same each time it is sent again."""
        mine = self.token(run)
        said = PROCESSES[process].request(
            mine, FINGERPRINTS[fingerprints], effects or self.effects, "pay", retention=DAY, take_unknown=take
        )
        return self.requests.setdefault(mine, said)

    @rule(run=RUNS, said=SAID, twice=st.booleans())
    def claim(self, run, said, twice):
        said = self.request(run, *said)
        calls = next(calls for calls in PROCESSES if calls._holder == said.holder)
        call = calls.claim(
            NAME,
            said.token,
            said.fingerprints,
            said.effects,
            said.operation,
            retention=DAY,
            take_unknown=said.take_unknown,
        )
        self.both(call, lambda record, now: transitions.claim(record, said, now, self.body), twice)

    @rule(run=RUNS, twice=st.booleans())
    def renew(self, run, twice):
        mine, lease = self.token(run), PROCESSES[0]._lease
        self.both(PROCESSES[0].renew(NAME, mine), lambda r, now: transitions.renew(r, mine, lease, now), twice)

    @rule(run=RUNS, point=st.sampled_from(("entered", "entered", "charged")), twice=st.booleans())
    def checkpoint(self, run, point, twice):
        mine, lease = self.token(run), PROCESSES[0]._lease
        call = PROCESSES[0].checkpoint(NAME, mine, point)
        self.both(call, lambda r, now: transitions.checkpoint(r, mine, point, lease, now), twice)

    def completing(self, answer):
        """A transition that also says what lies in the body's key."""
        done = Completion(*encode(answer)) if answer else Completion()

        def follow(before, after):
            completed = isinstance(after, Record) and after.state == "C"
            if completed and not (isinstance(before, Record) and before.state == "C"):
                self.body = done.body or None
            elif after is None:
                self.body = None

        return done, follow

    @rule(run=RUNS, answer=st.sampled_from(ANSWERS), restore=st.booleans(), twice=st.booleans())
    def complete(self, run, answer, restore, twice):
        mine = self.token(run)
        again = self.requests.get(mine) if restore else None
        done, follow = self.completing(answer)

        def transition(record, now):
            after, told = transitions.complete(record, mine, done, now, again)
            follow(record, after)
            return after, told

        self.both(PROCESSES[0].complete(NAME, mine, answer, DAY, restore=again), transition, twice)

    @rule(run=RUNS, twice=st.booleans())
    def release(self, run, twice):
        mine = self.token(run)
        self.both(PROCESSES[0].release(NAME, mine), lambda r, _: transitions.release(r, mine), twice)

    @rule(run=RUNS, why=st.sampled_from(("failed-500", "lapsed")), twice=st.booleans())
    def hold(self, run, why, twice):
        mine = self.token(run)
        self.both(PROCESSES[0].hold(NAME, mine, why), lambda r, _: transitions.hold(r, mine, why), twice)

    @rule(run=RUNS, twice=st.booleans())
    def handoff(self, run, twice):
        mine = self.token(run)
        self.both(PROCESSES[0].handoff(NAME, mine), lambda r, _: transitions.handoff(r, mine), twice)

    @rule(
        stale=st.sampled_from((0, 0, 0, 1)),
        answer=st.sampled_from(ANSWERS),
        done=st.booleans(),
        by=st.sampled_from(("probe", "ada")),
        twice=st.booleans(),
    )
    def resolve(self, stale, answer, done, by, twice):
        generation = getattr(self.model, "generation", 1) - stale
        kept, follow = self.completing(answer if done else None)

        def transition(record, now):
            after, told = transitions.resolve(record, generation, kept if done else None, by, now)
            follow(record, after)
            return after, told

        said = answer if done else None
        self.both(PROCESSES[1].resolve(NAME, generation, said, by, done=done), transition, twice)

    @precondition(lambda self: getattr(self.model, "state", "") == "P" and self.model.lease > 1)
    @rule()
    def lapse(self):
        self.model = msgspec.structs.replace(self.model, lease=self.place.lapse())

    @precondition(lambda self: self.body is not None)
    @rule()
    def body_expires(self):
        self.place.wire.ask("DEL", self.place.body)
        self.body = None

    @precondition(lambda self: isinstance(self.model, Record))
    @rule(really=st.integers(0, 4))
    def redis_loses_it(self, really):
        if not really:
            self.place.wire.ask("DEL", self.place.record, self.place.body)
            self.model = self.body = None

    @precondition(lambda self: isinstance(self.model, Record))
    @rule()
    def a_later_minor_adds_a_field(self):
        self.place.set(**{"z:later": "kept"})
        self.model = msgspec.structs.replace(self.model, others={**self.model.others, b"z:later": b"kept"})

    @precondition(lambda self: isinstance(self.model, Record))
    @rule(version=st.sampled_from(("2", "", "x")))
    def a_newer_release_writes(self, version):
        self.place.set(v=version)
        self.model, self.unreadable = Newer(version), self.model

    @precondition(lambda self: isinstance(self.model, Newer))
    @rule()
    def it_is_rolled_back(self):
        self.place.set(v=1)
        self.model = self.unreadable

    @rule(run=st.integers(0, 2))
    def a_run_is_forgotten_and_another_begins(self, run):
        self.count += 1
        self.tokens[run] = token(self.count)

    @initialize(effects=EFFECTS)
    def begins(self, effects):
        self.effects = effects
        assert read_record(self.place.fields()) is None


def test_scripts_do_what_the_transitions_say(place, ask_with_time):
    limits = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Machine(place, ask_with_time), settings=limits)


CLAIM = ("claim", HOLDER, (0, None, 0, False), False)
ENTER, CHARGE = ("checkpoint", 0, "entered", False), ("checkpoint", 0, "charged", False)
LAPSE, HANDOFF, TAKEN = ("lapse",), ("handoff", 0, False), ("claim", 1, (1, None, 1, False), False)
STATES = {
    "absent": [],
    "running": [CLAIM],
    "entered": [CLAIM, ENTER],
    "charged": [CLAIM, CHARGE],
    "lapsed": [CLAIM, LAPSE],
    "entered and lapsed": [CLAIM, ENTER, LAPSE],
    "charged and lapsed": [CLAIM, CHARGE, LAPSE],
    "handed over": [CLAIM, HANDOFF],
    "entered and handed over": [CLAIM, ENTER, HANDOFF],
    "asked for after it lapsed": [CLAIM, LAPSE, TAKEN],
    "taken over when entered": [CLAIM, ENTER, LAPSE, TAKEN],
    "on hold": [CLAIM, ("hold", 0, "failed-500", False)],
    "completed": [CLAIM, ("complete", 0, ANSWERS[4], False, False)],
    "resolved": [CLAIM, LAPSE, ("resolve", 0, ANSWERS[2], True, "ada", False)],
}
QUESTIONS = [
    *(
        ("claim", run, (1, effects, 1, take), True)
        for run in (0, 2)
        for effects in ("unsafe", "db")
        for take in (False, True)
    ),
    ("claim", 2, (1, None, 4, True), True),
    *(
        (name, run, *said, True)
        for run in (0, 1)
        for name, *said in (
            ("renew",),
            ("checkpoint", "entered"),
            ("complete", ANSWERS[3], True),
            ("complete", None, False),
            ("release",),
            ("hold", "failed-503"),
            ("handoff",),
        )
    ),
    *(("resolve", 0, ANSWERS[1], done, by, True) for done in (False, True) for by in ("ada", "probe")),
    ("resolve", 1, None, True, "ada", True),
]


@pytest.mark.parametrize("effects", ["unsafe", "db"])
@pytest.mark.parametrize("state", STATES)
def test_every_question_in_every_state(place, ask_with_time, state, effects):
    for question in QUESTIONS:
        machine = Machine(place, ask_with_time)
        machine.effects = effects
        for name, *said in (*STATES[state], question):
            getattr(machine, name)(*said)
