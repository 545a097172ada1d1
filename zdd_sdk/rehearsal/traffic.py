"""Puts the virtual users to work and judges each answer."""

from __future__ import annotations

import asyncio
import contextlib

from zdd_sdk.rehearsal.client import NO_ENDPOINT, REFUSED, TIMEOUT, Broken, Line, RawResponse
from zdd_sdk.rehearsal.model import SAFE_METHODS, Plan, Sample, Violation
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.rehearsal.routers.base import Backend, Router
from zdd_sdk.rehearsal.scenario import Behaviour, Scenario
from zdd_sdk.rehearsal.user import InvariantBroken, Request, RequestFailed, User, line_of, to_response

__all__ = ["Traffic", "judge"]

_UNTOUCHED = frozenset({REFUSED, NO_ENDPOINT, "announced"})
"""Failures after which nothing can have happened on the server."""


_BACK_OFF = 0.1
"""Seconds before a user without a pause sends again after a failure: nobody calls a closed port in a loop."""


class _Stopped(Exception):
    """Ends a user's round; no error."""


class Traffic:
    """The virtual users of one rehearsal.

    Attributes:
        lag: longest time, in seconds, this process itself was late; more than some 50 ms spoils latencies.
    """

    def __init__(self, plan: Plan, scenario: Scenario, router: Router, recorder: Recorder) -> None:
        self._plan = plan
        self._scenario = scenario
        self._router = router
        self._recorder = recorder
        self._stopping = asyncio.Event()
        self._seats = [_Seat(self, number) for number in range(plan.users)]
        self.lag = 0.0

    async def run(self) -> None:
        """Keep every user busy until `stop`; requests under way are finished."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_lag())
            for number, seat in enumerate(self._seats):
                behaviour = self._scenario.behaviour(number, self._plan.users)
                group.create_task(seat.play(behaviour), name=f"user-{number}")

    def stop(self) -> None:
        """No user begins another request; who listens to a stream hangs up."""
        self._stopping.set()
        for seat in self._seats:
            seat.hang_up()

    async def pause(self, user: User, least: float = 0.0) -> None:
        """Think, between half and one and a half times the plan's pause, or ``least`` seconds if that is more."""
        seconds = max(least, self._plan.think * user.random.uniform(0.5, 1.5))
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise _Stopped

    async def _watch_lag(self) -> None:
        loop, interval = asyncio.get_running_loop(), 0.1
        while not self._stopping.is_set():
            due = loop.time() + interval
            await asyncio.sleep(interval)
            self.lag = max(self.lag, loop.time() - due)


class _Seat:
    """One user, its connection and its bookkeeping."""

    def __init__(self, traffic: Traffic, number: int) -> None:
        self._traffic = traffic
        self._plan = traffic._plan  # noqa: SLF001 — a seat is a part of its traffic
        self._router = traffic._router  # noqa: SLF001
        self._recorder = traffic._recorder  # noqa: SLF001
        self.user = User(number, self._plan.seed, self._send)
        self._line: Line | None = None
        self._backend = Backend()
        self._served = 0
        self._requests = 0
        self._failed = False
        self._answered = 0.0

    async def play(self, behaviour: Behaviour) -> None:
        try:
            while True:
                before = self._requests
                await self._round(behaviour)
                if self._requests == before:
                    await self._traffic.pause(self.user, _BACK_OFF)
        except _Stopped:
            pass
        finally:
            self._close()

    def hang_up(self) -> None:
        if self._line is not None:
            self._line.hang_up()

    async def _round(self, behaviour: Behaviour) -> None:
        try:
            await behaviour(self.user)
        except RequestFailed as error:
            if error.method not in SAFE_METHODS and error.failure not in _UNTOUCHED:
                self.user.reset()
        except InvariantBroken as error:
            self._broken(Violation(error.kind, 0.0, 0, str(error), ""))
        except (_Stopped, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 — whatever a scenario raises is a finding, not our end
            self._broken(Violation("assert", 0.0, 0, line_of(error), ""))

    def _broken(self, finding: Violation) -> None:
        recorder, backend = self._recorder, self._backend
        recorder.violation(
            Violation(finding.kind, recorder.now(), self.user.id, finding.text, recorder.phase, backend.release)
        )
        self.user.reset()

    async def _send(self, user: User, request: Request) -> tuple[RawResponse, str]:
        await self._traffic.pause(user, _BACK_OFF if self._failed else 0.0)
        self._requests += 1
        at, phase, raw, failure = self._recorder.now(), self._recorder.phase, None, ""
        try:
            async with asyncio.timeout(self._plan.request_timeout + (request.patience or 0.0)):
                raw = await self._attempt(request)
        except Broken as error:
            failure = "cut" if self._backend.id in self._recorder.killed else error.kind
        except TimeoutError:
            failure = TIMEOUT
        if raw is not None:
            self._backend = self._router.origin(raw, self._backend)
            failure = judge(raw, request.expect, fault=self._recorder.fault_is_on)
            user.cookies.learn(raw.values("set-cookie"))
        else:
            self._close()
        self._record(request, at, phase, raw, failure)
        self._failed = bool(failure)
        if failure or raw is None:
            response = None if raw is None else to_response(raw, self._backend.release)
            raise RequestFailed(request.method, failure, response)
        return raw, self._backend.release

    async def _attempt(self, request: Request) -> RawResponse:
        line = self._kept() or await self._connect()
        headers = [("Host", f"{self._backend.host}:{self._backend.port}"), ("User-Agent", "zdd-rehearsal")]
        raw = await line.exchange(
            request.method, request.path, [*headers, *request.headers], request.body, patience=request.patience
        )
        self._served += 1
        self._answered = self._recorder.now()
        if self._router.lifetime and self._served >= self._router.lifetime:
            line.close()
        return raw

    def _kept(self) -> Line | None:
        """The connection, if it is still to be used."""
        if self._plan.idle and self._recorder.now() - self._answered > self._plan.idle:
            self._close()
        return self._line if self._line is not None and self._line.open else None

    async def _connect(self) -> Line:
        self._close()
        backend = self._router.choose(self.user.id)
        if backend is None:
            self._backend = Backend()
            raise Broken(NO_ENDPOINT)
        self._backend, self._served = backend, 0
        self._line = Line(backend.host, backend.port)
        await self._line.connect()
        return self._line

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _record(self, request: Request, at: float, phase: str, raw: RawResponse | None, failure: str) -> None:
        seconds = raw.first if raw and request.patience else self._recorder.now() - at
        status, ms = raw.status if raw else 0, seconds * 1000
        backend = self._backend
        self._recorder.sample(
            Sample(
                at, ms, request.method, request.route, status, failure, backend.release, backend.id, self.user.id, phase
            )
        )


def judge(raw: RawResponse, expect: frozenset[int], *, fault: bool) -> str:
    """Name the failure an answer is, or nothing.

    Args:
        raw: the answer.
        expect: statuses the scenario allows beside 2xx and 3xx.
        fault: whether something is broken on purpose, so that 503 with Retry-After is the right answer.
    """
    if 200 <= raw.status < 400 or raw.status in expect:  # noqa: PLR2004 — RFC 9110 classes
        return ""
    if fault and raw.status == 503 and raw.values("retry-after"):  # noqa: PLR2004
        return "announced"
    return f"status-{raw.status // 100}xx"
