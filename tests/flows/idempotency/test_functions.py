"""``@zdd.idempotent(key=…)`` around plain functions: run once per key, given again in their own type."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.flows.idempotency.functions import Works
from zdd_sdk.errors import (
    IdempotencyError,
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    IdempotencyOutcomeCommitted,
    IdempotencyOutcomeUnknown,
    IdempotencyUnavailable,
    SettingsError,
)
from zdd_sdk.http import exchange_variable
from zdd_sdk.idempotency import current
from zdd_sdk.idempotency.settle import Settler
from zdd_sdk.testing.tap import RespTap
from zdd_sdk.web import environ_exchange

if TYPE_CHECKING:
    from fractions import Fraction


@pytest.fixture
def works(engine: Any) -> Iterator[Works]:
    found = Works(engine.url)
    yield found
    found.zdd.lifecycle.stop(1.0)


@dataclass
class Invoice:
    id: int
    amount: Decimal = Decimal(1)


class Receipt(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(alias="receiptNumber")
    amount: Decimal
    at: dt.datetime


def test_a_function_runs_once_per_key(works: Works) -> None:
    @works.idempotent(key="invoice.id")
    def send(invoice: Invoice) -> str:
        works.done[invoice.id] += 1
        return f"sent {invoice.id} for {invoice.amount}"

    assert [send(Invoice(7)), send(invoice=Invoice(7)), send(Invoice(8))] == ["sent 7 for 1"] * 2 + ["sent 8 for 1"]
    assert works.done == {7: 1, 8: 1}
    assert (works.live, works.counters["first"], works.counters["replayed"]) == (0, 2, 1)


def test_control_without_the_decorator_it_runs_twice(works: Works) -> None:
    def send(key: str) -> None:
        works.done[key] += 1

    for function in (send, works.idempotent()(send)):
        works.done.clear()
        function("a")
        function("a")
        assert works.done["a"] == (2 if function is send else 1)


def test_an_async_function_runs_once_per_key(works: Works) -> None:
    @works.idempotent()
    async def send(key: str) -> int:
        await asyncio.sleep(0)
        works.done[key] += 1
        return works.done[key]

    async def twice() -> list[int]:
        return [await send("a"), await send("a")]

    assert asyncio.run(twice()) == [1, 1]
    assert asyncio.run(twice()) == [1, 1], "another loop, the same memory"
    assert (works.done["a"], works.live) == (1, 0)


def test_trips_first_two_again_one(real_engine: Any) -> None:
    with RespTap(real_engine.url) as tap:
        works = Works(tap.url)

        @works.idempotent()
        def send(key: str) -> None:
            works.done[key] += 1

        send("warm")
        for expected in (2, 1, 1):
            tap.reset()
            send("a")
            assert tap.trips == expected


def test_methods_whose_object_counts_for_the_principal_and_not_for_the_request(works: Works) -> None:
    class Mailer:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @works.idempotent(principal="self.tenant")
        def send(self, key: str, text: str) -> str:
            works.done[self.tenant] += 1
            return f"{self.tenant}: {text}"

        @classmethod
        @works.idempotent("shared", principal=lambda bound: bound["cls"].__name__)
        def share(cls, key: str) -> None:
            works.done[cls] += 1

    assert [Mailer("a").send("k", "hi"), Mailer("a").send("k", text="hi"), Mailer("b").send("k", "hi")] == [
        "a: hi",
        "a: hi",
        "b: hi",
    ]
    Mailer.share("k")
    Mailer.share("k")
    assert works.done == {"a": 1, "b": 1, Mailer: 1}
    with pytest.raises(IdempotencyKeyReused):
        Mailer("a").send("k", "something else")


def test_defaults_written_out_or_not_and_parameters_that_a_release_adds(works: Works, engine: Any) -> None:
    def release(number: int) -> Callable[..., int]:
        def old(key: str, currency: str = "eur") -> int:
            works.done[key] += 1
            return number

        def new(key: str, currency: str = "eur", *, tip: int = 0, **more: Any) -> int:
            works.done[key] += 1
            return number

        decorate = works.idempotent() if number == 1 else Works(engine.url).idempotent()
        return decorate(old if number == 1 else new)  # type: ignore[no-any-return]

    first, second = release(1), release(2)
    assert [first("a"), first("a", "eur"), first(key="a", currency="eur"), second("a"), second("a", tip=0)] == [1] * 5
    for function, said in ((first, {"currency": "usd"}), (second, {"tip": 1}), (second, {"other": 1})):
        with pytest.raises(IdempotencyKeyReused):
            function("a", **said)
    assert works.done == {"a": 1}


def test_a_selected_field_may_be_at_its_default(works: Works) -> None:
    @works.idempotent(fingerprint=("currency",))
    def send(key: str, note: object, currency: str = "eur") -> None:
        works.done[key] += 1

    send("a", object())
    send("a", object(), "eur")
    with pytest.raises(IdempotencyKeyReused):
        send("a", object(), "usd")
    assert works.done == {"a": 1}


# Results


class Other(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (None, None),
        (type(None), None),
        (int, 3),
        (str, "ü"),
        (bytes, b"\x00\xff"),
        (Decimal, Decimal("1.10")),
        (dt.datetime, dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)),
        (uuid.UUID, uuid.UUID(int=5)),
        (Invoice, Invoice(7, Decimal("2.5"))),
        (Receipt, Receipt(receiptNumber=1, amount=Decimal("9.99"), at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))),
        (
            list[Receipt],
            [Receipt(receiptNumber=n, amount=Decimal(n), at=dt.datetime.min.replace(tzinfo=dt.UTC)) for n in range(3)],
        ),
        (dict[str, Other | None], {"a": Other(x=1), "b": None}),
        (tuple[int, str], (1, "a")),
        (Any, {"a": [1, None, "x"]}),
        ("Invoice", Invoice(1)),
    ],
)
def test_a_result_comes_back_as_what_is_annotated(works: Works, annotation: Any, result: Any) -> None:
    def make(key: str):  # type: ignore[no-untyped-def]
        works.done[key] += 1
        return result

    make.__annotations__["return"] = annotation
    function = works.idempotent()(make)
    first, again = function("a"), function("a")
    assert first is result
    assert (again, type(again)) == (result, type(result))
    assert works.done == {"a": 1}


@pytest.mark.parametrize("effects", ["external", "pure", "unsafe"])
@pytest.mark.parametrize(
    ("annotation", "result"), [(Any, object()), (int, "no number"), (Any, b"x" * (256 * 1024)), (Other, {"y": 1})]
)
def test_a_result_that_cannot_be_kept_is_returned_and_its_effect_is_not_lost(
    works: Works, caplog: pytest.LogCaptureFixture, effects: str, annotation: Any, result: Any
) -> None:
    def make(key: str):  # type: ignore[no-untyped-def]
        works.done[key] += 1
        return result

    make.__annotations__["return"] = annotation
    function = works.idempotent(effects=effects)(make)
    with caplog.at_level(logging.ERROR, "zdd.idempotency"):
        assert function("a") is result
    assert "invoices.send: it has returned" in caplog.text
    with pytest.raises(IdempotencyOutcomeCommitted):
        function("a")
    assert (works.done["a"], works.live) == (1, 0)


def test_an_annotation_that_is_not_there_at_run_time_is_refused_before_anything_runs(works: Works) -> None:
    @works.idempotent()
    def make(key: str) -> Fraction:
        works.done[key] += 1
        raise AssertionError

    for _ in range(2):
        with pytest.raises(SettingsError, match=r"invoices\.send.*'Fraction' is not defined"):
            make("a")
    assert not works.done


def test_a_release_that_annotates_another_type_does_not_run_it_again(works: Works) -> None:
    def release(annotation: Any) -> Any:
        def make(key: str):  # type: ignore[no-untyped-def]
            works.done[key] += 1
            return Other(x=1)

        make.__annotations__["return"] = annotation
        return works.idempotent()(make)

    assert release(Other)("a") == Other(x=1)
    assert release(dict)("a") == {"x": 1}
    with pytest.raises(IdempotencyOutcomeCommitted, match="not what is annotated now"):
        release(Receipt)("a")
    assert works.done == {"a": 1}


# How a run ends


def fails_once(works: Works, error: BaseException, **said: Any) -> Callable[[str], str]:
    @works.idempotent(**said)
    def send(key: str) -> str:
        works.done[key] += 1
        if works.done[key] == 1:
            raise error
        return "sent"

    return send  # type: ignore[no-any-return]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), IdempotencyUnavailable("x")])
@pytest.mark.parametrize("effects", ["external", "pure"])
def test_what_may_be_run_again_is_released_by_any_exception(works: Works, effects: str, error: BaseException) -> None:
    send = fails_once(works, error, effects=effects)
    with pytest.raises(type(error)):
        send("a")
    assert works.live == 0
    assert [send("a"), send("a")] == ["sent", "sent"]
    assert works.done == {"a": 2}


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), IdempotencyUnavailable("x")])
def test_what_must_not_run_again_is_unknown_after_any_exception(works: Works, error: BaseException) -> None:
    send = fails_once(works, error, effects="unsafe")
    with pytest.raises(type(error)):
        send("a")
    for _ in range(2):
        with pytest.raises(IdempotencyOutcomeUnknown):
            send("a")
    assert (works.done["a"], works.live) == (1, 0)


def test_control_the_policy_of_others_runs_an_unsafe_function_again(works: Works) -> None:
    send = fails_once(works, ValueError("x"), effects="unsafe", on_unknown="takeover")
    with pytest.raises(ValueError, match="x"):
        send("a")
    assert send("a") == "sent"
    assert works.done == {"a": 2}


def test_an_unsafe_function_that_says_it_has_done_nothing_is_released(works: Works) -> None:
    @works.idempotent(effects="unsafe")
    def send(key: str) -> str:
        works.done[key] += 1
        if works.done[key] == 1:
            context = current()
            assert context is not None
            context.nothing_done()
            raise ConnectionError
        return "sent"

    with pytest.raises(ConnectionError):
        send("a")
    assert send("a") == "sent"


def test_a_failure_may_be_the_outcome(works: Works) -> None:
    send = fails_once(works, ValueError("x"), effects="unsafe", on_error="store")
    with pytest.raises(ValueError, match="x"):
        send("a")
    with pytest.raises(IdempotencyOutcomeCommitted):
        send("a")
    assert works.done == {"a": 1}


@pytest.mark.parametrize(
    ("effects", "again"), [("external", None), ("unsafe", IdempotencyOutcomeUnknown)], ids=["released", "unknown"]
)
def test_cancelled_while_it_runs_it_is_settled(works: Works, effects: str, again: type[Exception] | None) -> None:
    begun = asyncio.Event()

    @works.idempotent(effects=effects)
    async def send(key: str) -> None:
        works.done[key] += 1
        if works.done[key] == 1:
            begun.set()
            await asyncio.sleep(60)

    async def cancel() -> None:
        running = asyncio.create_task(send("a"))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert works.live == 0
        if again is None:
            await send("a")
        else:
            with pytest.raises(again):
                await send("a")

    asyncio.run(cancel())
    assert works.done["a"] == (2 if again is None else 1)


def test_cancelled_while_it_settles_it_is_settled_all_the_same(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def keep(self: Settler, claim: object) -> None:
        begun.set()
        await asyncio.sleep(0.2)

    monkeypatch.setattr(Settler, "keep", keep)

    @works.idempotent(effects="unsafe")
    async def send(key: str) -> str:
        works.done[key] += 1
        return "sent"

    async def cancel() -> str:
        running = asyncio.create_task(send("a"))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for _ in range(500):
            try:
                return await send("a")  # type: ignore[no-any-return]
            except IdempotencyOutcomeUnknown:
                raise
            except IdempotencyInProgress:
                await asyncio.sleep(0.02)
        raise AssertionError

    assert asyncio.run(cancel()) == "sent"
    assert (works.done["a"], works.live) == (1, 0)


def test_cancelled_while_it_claims_the_claim_is_given_back(real_engine: Any) -> None:
    with RespTap(real_engine.url) as tap:
        works = Works(tap.url)

        @works.idempotent(effects="unsafe")
        async def send(key: str) -> None:
            works.done[key] += 1

        async def cancel() -> None:
            await send("warm")
            tap.delay(0.5)
            running = asyncio.create_task(send("a"))
            await asyncio.sleep(0.1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            tap.heal()

        asyncio.run(cancel())
        live = works.zdd.idempotency.live
        assert (works.done["a"], len(live), live.owed) == (0, 0, 1), "the pulse gives back what may have been granted"


# Callers


def test_within_an_endpoint_that_holds_a_claim(works: Works) -> None:
    @works.idempotent("inner", effects="external")
    def charge(key: str) -> str:
        works.done[key] += 1
        context = current()
        assert context is not None
        return context.operation

    @works.idempotent("outer", effects="external")
    def order(key: str) -> list[str]:
        works.done[key] += 1
        before = current()
        found = charge(f"{key}/charge")
        assert current() is before
        return [found, before.operation]  # type: ignore[union-attr]

    assert order("a") == order("a") == ["inner", "outer"]
    assert charge("a/charge") == "inner"
    assert works.done == {"a": 1, "a/charge": 1}
    assert current() is None


def test_what_calls_itself_with_its_own_key_is_told_so(works: Works) -> None:
    @works.idempotent()
    def send(key: str) -> str:
        works.done[key] += 1
        with pytest.raises(IdempotencyInProgress):
            send(key)
        return "sent"

    assert send("a") == "sent"
    assert works.done == {"a": 1}


def test_in_a_thread_pool_one_of_many_runs(works: Works) -> None:
    crowd, together = 16, threading.Barrier(16)

    @works.idempotent()
    def send(key: str) -> int:
        works.done[key] += 1
        return 5

    def call(_: int) -> int | None:
        together.wait()
        try:
            return send("a")  # type: ignore[no-any-return]
        except IdempotencyInProgress:
            return None

    with ThreadPoolExecutor(crowd) as pool:
        assert set(pool.map(call, range(crowd))) <= {5, None}
    assert send("a") == 5
    assert works.done == {"a": 1}


def test_whoever_waits_gets_the_first_ones_result(works: Works) -> None:
    begun, go = threading.Event(), threading.Event()

    @works.idempotent(wait="2s")
    def send(key: str) -> str:
        works.done[key] += 1
        begun.set()
        assert go.wait(20)
        return "sent"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, "a")
        assert begun.wait(20)
        second = pool.submit(send, "a")
        go.set()
        assert (first.result(), second.result()) == ("sent", "sent")
    assert works.done == {"a": 1}


def test_within_a_request_of_wsgi_an_async_function_asks_the_requests_store(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an async view of Flask, whose loop ends with the request, and its connections with it."""
    monkeypatch.setattr(works.zdd, "aio_store", None)

    @works.idempotent()
    async def send(key: str) -> str:
        works.done[key] += 1
        return "sent"

    exchange = environ_exchange({"REQUEST_METHOD": "POST", "PATH_INFO": "/"}, works.zdd.blocking_store())
    token = exchange_variable.set(exchange)
    try:
        assert [asyncio.run(send("a")) for _ in range(2)] == ["sent", "sent"]
    finally:
        exchange_variable.reset(token)
    assert works.done == {"a": 1}


# Keys and principals


@pytest.mark.parametrize(
    "key",
    [7, uuid.UUID(int=7), ("a", 7), b"k", "kéy", "k" * 1000, dt.date(2026, 1, 1)],
    ids=lambda key: repr(key)[:20],
)
def test_keys_of_many_kinds(works: Works, key: Any) -> None:
    @works.idempotent(fingerprint=("text",))
    def send(key: object, text: str = "") -> None:
        works.done[key] += 1

    send(key)
    send(key)
    assert works.done == {key: 1}


@pytest.mark.parametrize(
    ("key", "error"), [(None, IdempotencyKeyMissing), ("", IdempotencyKeyMissing), ((), IdempotencyKeyMissing),
                       (("a", None), IdempotencyKeyMissing), (object(), IdempotencyKeyInvalid)]
)  # fmt: skip
def test_what_is_no_key_runs_nothing(works: Works, key: Any, error: type[Exception]) -> None:
    @works.idempotent(fingerprint=("text",))
    def send(key: object, text: str = "") -> None:
        works.done["any"] += 1

    with pytest.raises(error):
        send(key)
    assert not works.done


def test_a_parameter_called_anonymous_is_no_constant_key(works: Works) -> None:
    @works.idempotent(key="anonymous")
    def send(anonymous: str) -> None:
        works.done[anonymous] += 1

    send("a")
    send("b")
    assert works.done == {"a": 1, "b": 1}


def test_an_object_without_a_name_is_no_principal(works: Works) -> None:
    """Its text is an address in memory: in each process another principal, and nobody a duplicate."""

    class User: ...

    @works.idempotent(principal="user", fingerprint=("key",))
    def send(key: str, user: User) -> None:
        works.done[key] += 1

    with pytest.raises(IdempotencyError, match="without a name"):
        send("a", User())
    assert not works.done


def test_what_is_refused_where_it_is_written(works: Works) -> None:
    def send(key: str) -> None: ...

    def yields(key: str) -> Iterator[int]:
        yield 1

    class Mailer: ...

    for function, said, why in (
        (send, {"key": "invoice.id"}, "key='invoice.id' begins at no parameter"),
        (send, {"principal": "user.id"}, "principal='user.id' begins at no parameter"),
        (send, {"principal": None}, "say whose keys they are"),
        (send, {"fingerprint": []}, "compares nothing"),
        (send, {"effects": "none"}, "say one of"),
        (send, {"retention": "soon"}, "invoices.send"),
        (send, {"on_unknown": "hope"}, "say 'hold'"),
        (yields, {}, "a generator"),
        (Mailer, {}, "decorate the methods"),
    ):
        with pytest.raises(SettingsError, match=why):
            works.idempotent(**said)(function)


def test_a_decorator_below_that_hides_a_coroutine_is_refused_before_it_runs(works: Works) -> None:
    def loud(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return around

    @works.idempotent(effects="unsafe")
    @loud
    async def send(key: str) -> None:
        works.done[key] += 1

    for _ in range(2):
        with pytest.raises(IdempotencyError, match="right above the function"):
            send("a")
    assert (works.live, dict(works.done)) == (0, {})


def test_redis_away_is_said_before_anything_runs(real_engine: Any) -> None:
    with RespTap(real_engine.url) as tap:
        works = Works(tap.url)

        @works.idempotent()
        def send(key: str) -> None:
            works.done[key] += 1

        tap.refuse()
        with pytest.raises(IdempotencyUnavailable):
            send("a")
        assert not works.done


def test_redis_gone_while_it_runs_costs_neither_result_nor_memory(real_engine: Any) -> None:
    with RespTap(real_engine.url) as tap:
        works = Works(tap.url)

        @works.idempotent()
        def send(key: str) -> str:
            works.done[key] += 1
            tap.refuse()
            return "sent"

        assert send("a") == "sent"
        live = works.zdd.idempotency.live
        assert (len(live), live.owed) == (0, 1), "the pulse tells it"
        tap.heal()


def test_without_idempotency_it_is_the_function(engine: Any) -> None:
    works = Works(engine.url, idempotency={"enabled": False})

    @works.idempotent()
    def send(key: str) -> None:
        works.done[key] += 1

    send("a")
    send("a")
    assert works.done == {"a": 2}
