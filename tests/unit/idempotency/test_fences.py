"""However runs interleave, stall, die and come back late: one key has one effect (Hypothesis, over the transitions).

Effects happen in a resource that knows nothing of Redis: a database with guard rows, or (``unsafe``) nothing that
would refuse anybody. The controls run the same histories with the policy of the peers, which run again what has
lapsed, and must be caught with two effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from zdd_sdk.idempotency import transitions
from zdd_sdk.idempotency.answer import StoredAnswer, encode
from zdd_sdk.idempotency.model import ENTERED, Busy, Completion, Holder, Owned, Replay, Request, Unknown

LEASE, DAY = 15_000, 86_400_000
DONE = Completion(*encode(StoredAnswer(201, (), b"{}")))
PICK = st.integers(0, 5)


def there_is(*steps):
    """A rule only for histories with a run that is so far."""
    return precondition(lambda self: any(run.step in steps for run in self.runs))


@dataclass
class Run:
    """One process that believes it holds the key."""

    request: Request
    generation: int
    step: str = "claimed"
    entered: bool = False


class Service(RuleBasedStateMachine):
    """Claims, leases, crashes and drains, the same for each class of effects."""

    effects = "unsafe"
    peers = False
    guarded = True

    def __init__(self):
        super().__init__()
        self.record, self.now, self.count = None, 1_000_000, 0
        self.runs: list[Run] = []
        self.granted: list[tuple[int, int]] = []
        self.done = 0

    def run(self, pick, *steps):
        fitting = [run for run in reversed(self.runs) if run.step in steps]
        return fitting[pick % len(fitting)]

    def told(self, transition, *args):
        """Ask, which takes time: of two owners in one millisecond nobody can be late."""
        self.now += 1
        self.record, result = transition(self.record, *args)
        return result

    @rule(rotation=st.booleans())
    def a_client_asks(self, rotation):
        self.count += 1
        fingerprints = ("j1.kid2.x", "j1.kid1.x") if rotation else ("j1.kid1.x",)
        token = b"%016d" % self.count
        request = Request(
            token, fingerprints, self.effects, LEASE, DAY, Holder("web", "1"), "pay", take_unknown=self.peers
        )
        verdict = self.told(transitions.claim, request, self.now)
        if isinstance(verdict, Owned):
            alive = [generation for number, generation in self.granted if number != self.count]
            assert all(verdict.generation > generation for generation in alive)
            self.granted.append((self.count, verdict.generation))
            self.runs.append(Run(request, verdict.generation))
        self.judge(verdict)

    def judge(self, verdict):
        assert isinstance(verdict, Owned | Busy | Replay | Unknown)
        if isinstance(verdict, Replay):
            assert self.done == 1

    @rule(milliseconds=st.sampled_from((1, LEASE - 1, LEASE, LEASE, 3 * LEASE)))
    def time_passes(self, milliseconds):
        self.now += milliseconds

    @there_is("claimed", "acted")
    @rule(pick=PICK)
    def a_pulse_renews(self, pick):
        self.told(transitions.renew, self.run(pick, "claimed", "acted").request.token, LEASE, self.now)

    @there_is("claimed", "acted")
    @rule(pick=PICK)
    def a_process_is_killed(self, pick):
        self.run(pick, "claimed", "acted").step = "dead"

    @there_is("claimed", "acted")
    @rule(pick=PICK)
    def a_process_drains(self, pick):
        """It goes on all the same: nothing stops a handler that is under way."""
        self.told(transitions.handoff, self.run(pick, "claimed", "acted").request.token)

    @there_is("acted")
    @rule(pick=PICK)
    def a_run_completes(self, pick):
        run = self.run(pick, "acted")
        self.told(transitions.complete, run.request.token, DONE, self.now)
        run.step = "ended"

    @there_is("claimed")
    @rule(pick=PICK)
    def a_run_that_has_done_nothing_releases(self, pick):
        run = self.run(pick, "claimed")
        self.told(transitions.release, run.request.token)
        self.granted = [grant for grant in self.granted if grant[1] != run.generation]
        run.step = "ended"

    @invariant()
    def there_is_one_effect_at_most(self):
        assert self.done <= 1, "two effects"


class Unsafe(Service):
    """Nothing refuses a second effect; only whoever has been given the key acts, at any time, however late."""

    @there_is("claimed")
    @rule(pick=PICK)
    def a_run_says_that_it_will_say_when_it_acts(self, pick):
        run = self.run(pick, "claimed")
        if not run.entered:
            run.entered = self.told(transitions.checkpoint, run.request.token, ENTERED, LEASE, self.now)

    @there_is("claimed")
    @rule(pick=PICK)
    def a_run_acts(self, pick):
        run = self.run(pick, "claimed")
        if run.entered and not self.told(transitions.checkpoint, run.request.token, "acting", LEASE, self.now):
            run.step = "ended"
            return
        self.done += 1
        run.step = "acted"

    @there_is("acted")
    @rule(pick=PICK)
    def a_run_fails_after_it_acted(self, pick):
        run = self.run(pick, "acted")
        self.told(transitions.hold, run.request.token, "failed-500")
        run.step = "ended"

    @precondition(lambda self: getattr(self.record, "state", "") == "U")
    @rule()
    def an_operator_looks(self):
        """And can see what has happened, and that nobody runs any more."""
        if not any(run.step in {"claimed", "acted"} for run in self.runs):
            done = DONE if self.done else None
            assert self.told(transitions.resolve, self.record.generation, done, "ada", self.now)


class PeersUnsafe(Unsafe):
    """The control: what has lapsed is run again."""

    peers = True


class Database(Service):
    """An effect is a commit, and the guard row's unique index lets one transaction commit only."""

    effects = "db"

    def __init__(self):
        super().__init__()
        self.rows = 0
        self.inserting: Run | None = None

    @there_is("claimed")
    @rule(pick=PICK)
    def a_run_inserts_its_guard_row(self, pick):
        run = self.run(pick, "claimed")
        if self.guarded and self.inserting:
            return  # the index makes it wait
        if self.guarded and self.rows:
            assert self.done == 1
            self.told(transitions.complete, run.request.token, DONE, self.now)
            run.step = "ended"
            return
        self.inserting, run.step = run, "writing"

    @there_is("writing")
    @rule(pick=PICK)
    def a_run_commits(self, pick):
        run = self.run(pick, "writing")
        self.done, self.rows, self.inserting, run.step = self.done + 1, 1, None, "acted"

    @there_is("writing")
    @rule(pick=PICK)
    def a_run_rolls_back(self, pick):
        run = self.run(pick, "writing")
        self.inserting, run.step = None, "claimed"

    @there_is("writing")
    @rule(pick=PICK)
    def a_process_is_killed_inside_its_transaction(self, pick):
        run = self.run(pick, "writing")
        self.inserting, run.step = None, "dead"

    @rule(pick=PICK)
    def redis_fails_over_to_a_replica_without_the_record(self, pick):
        self.record = None
        self.granted.clear()
        self.now += 1 + pick

    @rule()
    def nobody_is_stuck(self):
        """A retry after the lease is run, or answered: its outcome is never unknown."""
        request = Request(b"r" * 16, ("j1.kid1.x",), "db", LEASE, DAY, Holder("web", "2"), "pay")
        _, verdict = transitions.claim(self.record, request, self.now + 10 * LEASE)
        assert isinstance(verdict, Owned | Replay)


class UnguardedDatabase(Database):
    """The control: a lease alone, as in every peer."""

    guarded = False


def play(machine, examples=150):
    limits = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
        database=None,
    )
    run_state_machine_as_test(machine, settings=limits)


@pytest.mark.parametrize("machine", [Unsafe, Database])
def test_one_key_has_one_effect(machine):
    play(machine)


@pytest.mark.parametrize("machine", [PeersUnsafe, UnguardedDatabase])
def test_control_running_again_what_has_lapsed_has_two(machine):
    with pytest.raises(AssertionError, match="two effects"):
        play(machine, examples=2000)
