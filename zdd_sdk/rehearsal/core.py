"""The rehearsal itself: start the old release, let users in, deploy, roll back, count."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import secrets
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.deploy import STRATEGIES, Ground
from zdd_sdk.rehearsal.faults import Faults
from zdd_sdk.rehearsal.instances import Instances
from zdd_sdk.rehearsal.model import PhaseName, Plan, Progress, Result, Side, Summary
from zdd_sdk.rehearsal.plan import check_plan
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.rehearsal.routers import KubeRouter, NginxRouter, Router, StaticNginxRouter
from zdd_sdk.rehearsal.scenario import Scenario, load_scenario
from zdd_sdk.rehearsal.summary import summarise
from zdd_sdk.rehearsal.target import Target
from zdd_sdk.rehearsal.traffic import Traffic

if TYPE_CHECKING:
    from zdd_sdk.store.engine import Engine

__all__ = ["rehearse"]

_RECOVERY = 7.0
"""Seconds of traffic after a fault, so that the report shows whether everything came back: the breaker closes
within 5 s, the rest is normal operation."""

_LATE = 0.25
"""Seconds this process may be late before the reader is told that the latencies are spoilt."""


def rehearse(plan: Plan, directory: Path, progress: Progress) -> tuple[Result, Summary]:
    """Carry out a plan and return what was seen. Blocks; starts processes, leaves none behind.

    Args:
        plan: what to rehearse.
        directory: for logs; made if missing.
        progress: hears of everything as it happens.

    Raises:
        RehearsalError: it could not be carried out: a plan that contradicts itself, a server that never was ready,
            a scenario that cannot be imported, no nginx; with the server's last output where there is one.
        KeyboardInterrupt: Ctrl-C or SIGTERM; every process is gone when it is raised.
    """
    check_plan(plan)
    scenario = load_scenario(plan.scenario)
    data = Path(tempfile.mkdtemp(prefix="zdd-rehearsal-"))
    rehearsal = _Rehearsal(plan, scenario, directory.resolve(), data, Recorder(progress))
    try:
        with asyncio.Runner() as runner:
            result = runner.run(_until_terminated(rehearsal.run()))
    finally:
        rehearsal.end()
        shutil.rmtree(data, ignore_errors=True)
    summary = summarise(result)
    progress.finished(result, summary)
    return result, summary


class _Rehearsal:
    """One run: what it has started, and how to end it."""

    def __init__(self, plan: Plan, scenario: Scenario, directory: Path, data: Path, recorder: Recorder) -> None:
        self._plan, self._scenario, self._data, self._recorder = plan, scenario, data, recorder
        self._directory = directory
        self._taken: set[int] = set()
        self._engine: Engine | None = None
        self._instances: Instances | None = None
        self._router: Router | None = None
        self._audit: dict[str, int] = {}

    async def run(self) -> Result:
        """Everything, in order."""
        url = self._open_store()
        common = {**self._common(url), **self._prepare()}
        self._instances = Instances(
            self._plan, self._recorder, directory=self._directory, data=self._data, common=common, taken=self._taken
        )
        self._router = self._make_router()
        ground = Ground(self._plan, self._instances, self._router, self._recorder.note)
        faults = Faults(self._recorder, ground, engine=self._engine, redis_url=url)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._instances.watch())
                await self._instances.prepare("old")
                await ground.open("old", self._plan.instances)
                await self._play(group, ground, faults)
                watch.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return self._result()

    def end(self) -> None:
        """Kill everything that runs, at once; safe at any time."""
        if self._instances is not None:
            self._instances.end()
        if self._router is not None:
            self._router.stop()
        if self._engine is not None:
            self._engine.stop()

    async def _play(self, group: asyncio.TaskGroup, ground: Ground, faults: Faults) -> None:
        if self._scenario.setup:
            await self._ask_scenario("setup", self._scenario.setup(self._target(ground)))
        traffic = Traffic(self._plan, self._scenario, _given(self._router), self._recorder)
        self._recorder.begin()
        users = group.create_task(traffic.run())
        await self._phases(ground, faults)
        traffic.stop()
        await users
        self._recorder.leave()
        if traffic.lag > _LATE:
            text = f"this machine was busy: the users were up to {traffic.lag:.2f} s late, so latencies are too high"
            self._recorder.note(text, keep=True)
        if self._scenario.audit:
            self._audit = dict(await self._ask_scenario("audit", self._scenario.audit(self._target(ground))) or {})

    async def _phases(self, ground: Ground, faults: Faults) -> None:
        plan = self._plan
        await self._phase("warm-up", "old", asyncio.sleep(plan.warm_up), faults)
        for _ in range(plan.rounds):
            await self._phase("deploy", "old", self._deploy(ground, "old", "new"), faults)
            await self._phase("settled", "new", asyncio.sleep(plan.settled), faults)
            if plan.rollback:
                await self._phase("rollback", "new", self._deploy(ground, "new", "old"), faults)
                await self._phase("cool-down", "old", asyncio.sleep(plan.cool_down), faults)

    async def _phase(self, name: PhaseName, side: Side, work: Coroutine[Any, Any, None], faults: Faults) -> None:
        self._recorder.enter(name)
        await asyncio.gather(work, faults.strike(name, side))
        if any(fault.phase == name for fault in self._plan.faults):
            await asyncio.sleep(_RECOVERY)

    async def _deploy(self, ground: Ground, leaving: Side, coming: Side) -> None:
        await _given(self._instances).prepare(coming)
        await STRATEGIES[self._plan.strategy](ground, leaving, coming)
        # A replacement for one that was killed meanwhile is none of those the strategy has counted.
        while late := ground.serving(leaving):
            ground.retire(*late)
            await ground.gone(*late)

    def _open_store(self) -> str:
        if self._plan.redis_url is not None:
            return self._plan.redis_url
        from zdd_sdk.store.engine import start_engine

        self._engine = start_engine()
        return self._engine.url

    def _common(self, redis_url: str) -> dict[str, str]:
        return {
            "ZDD_REDIS_URL": redis_url,
            "ZDD_SECRET": secrets.token_hex(32),
            "ZDD_SERVICE": self._plan.service,
            "ZDD_ENVIRONMENT": self._plan.environment,
            "ZDD_LIFECYCLE_RUN_DIR": str(self._data / "run"),
        }

    def _prepare(self) -> dict[str, str]:
        if self._scenario.prepare is None:
            return {}
        try:
            return dict(self._scenario.prepare(self._data))
        except Exception as error:
            message = f"prepare() of the scenario failed: {type(error).__name__}: {error}"
            raise RehearsalError(message) from error

    def _make_router(self) -> Router:
        plan = self._plan
        if plan.router == "kube":
            return KubeRouter(nodes=plan.nodes, lag=plan.router_lag, seed=plan.seed)
        make = NginxRouter if plan.router == "nginx" else StaticNginxRouter
        return make(
            directory=self._data,
            logs=self._directory / "logs",
            lag=plan.router_lag,
            seed=plan.seed,
            taken=self._taken,
            options=plan.nginx,
        )

    def _target(self, ground: Ground) -> Target:
        side: Side = "old" if self._plan.rollback or not ground.serving("new") else "new"
        return Target(ground.serving(side)[0].backend(), self._data)

    async def _ask_scenario(self, name: str, question: Any) -> Any:
        try:
            return await question
        except Exception as error:
            message = f"{name}() of the scenario failed: {type(error).__name__}: {error}"
            raise RehearsalError(message) from error

    def _result(self) -> Result:
        recorder, engine = self._recorder, self._engine
        return Result(
            plan=self._plan,
            began=recorder.began,
            phases=tuple(recorder.phases),
            samples=tuple(sorted(recorder.samples, key=lambda sample: sample.at)),
            violations=tuple(recorder.violations),
            instances=tuple(sorted(recorder.instances.values(), key=lambda record: record.started)),
            usage=tuple(recorder.usage),
            faults=tuple(recorder.faults),
            audit=self._audit,
            engine=f"{engine.kind} {engine.version}".strip() if engine else "given by --redis-url",
            versions={"zdd-sdk": _version(), "python": platform.python_version()},
            notes=tuple(recorder.notes),
        )


async def _until_terminated(work: Coroutine[Any, Any, Result]) -> Result:
    """Treat SIGTERM as Ctrl-C: cancel, clean up, leave."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if not _given(asyncio.current_task()).cancelling():
            raise KeyboardInterrupt from None
        raise


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that matters: a `RehearsalError` if there is one, else the first."""
    known, _ = errors.split(RehearsalError)
    found: BaseException = known or errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _given(value: Any) -> Any:
    if value is None:
        message = "this part of the rehearsal has not been started"
        raise RehearsalError(message)
    return value


def _version() -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("zdd-sdk")
    return "unknown"
