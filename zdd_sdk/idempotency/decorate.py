"""What ``@zdd.idempotent(…)`` and ``@zdd.idempotent_consumer(…)`` accept, judged where they are written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, get_args

from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency.bracket import Bracket
from zdd_sdk.idempotency.claim import OnUnknown, Operation
from zdd_sdk.idempotency.fingerprint import FingerprintSpec, read_fingerprint
from zdd_sdk.idempotency.model import Effects
from zdd_sdk.idempotency.outcome import OnError
from zdd_sdk.idempotency.scope import ANONYMOUS, Principal, key_reader, principal_reader
from zdd_sdk.settings.units import parse_duration

if TYPE_CHECKING:
    from zdd_sdk.app import ZeroDowntime

__all__ = ["KeyOf", "Said", "consumer", "decorate"]

F = TypeVar("F", bound=Callable[..., Any])

KeyOf = str | Callable[[Mapping[str, Any]], object]
"""A parameter path (``"message.id"``), or a callable of the bound arguments."""

_VISIBLE = 0.8
"""Share of a broker's visibility timeout a lease may have: who redelivers must find it lapsed, not the reverse."""


class Said(TypedDict, total=False):
    """Options both decorators share; see `ZeroDowntime.idempotent`."""

    retention: str | float | None
    body_ttl: str | float | None
    wait: str | float | None
    fingerprint: FingerprintSpec
    on_unknown: OnUnknown
    on_error: OnError
    answer: Callable[..., Any] | None
    guard: str | None


def decorate(
    zdd: ZeroDowntime,
    function: F,
    *,
    operation: str,
    effects: Effects,
    principal: Principal | None,
    key: KeyOf | None,
    required: bool,
    said: Said,
    consumes: bool = False,
) -> F:
    """Put a function into a bracket.

    Raises:
        SettingsError: what is said cannot work.
    """
    _check(function, operation, effects, said)
    settings, parameters = zdd.settings.idempotency, tuple(inspect.signature(function).parameters)
    retention = settings.consumer_retention if consumes else settings.retention
    bracket = Bracket(
        zdd,
        function,
        Operation(
            operation,
            effects,
            principal_reader(principal or settings.principal, parameters, operation),
            retention=_seconds(said.get("retention"), retention, operation),
            body_ttl=_seconds(said.get("body_ttl"), settings.body_ttl, operation),
            wait=_seconds(said.get("wait"), settings.wait, operation),
            on_unknown=said.get("on_unknown", "hold"),
            on_error=said.get("on_error", "hold"),
            answer=said.get("answer"),
            required=required,
            guard=said.get("guard"),
        ),
        said.get("fingerprint"),
        None if key is None else key_reader(key, parameters, operation),
    )
    zdd.brackets.append(bracket)
    return bracket.wrapper


def consumer(
    zdd: ZeroDowntime,
    function: F,
    *,
    operation: str,
    effects: Effects,
    key: KeyOf,
    visibility_timeout: str | float | None,
    said: Said,
) -> F:
    """Put a message handler into a bracket.

    Raises:
        SettingsError: what is said cannot work, or the lease is longer than 0.8 of the visibility timeout.
    """
    lease = zdd.settings.idempotency.lease
    if visibility_timeout is not None and lease > _VISIBLE * _seconds(visibility_timeout, 0.0, operation):
        message = (
            f"{operation}: idempotency.lease ({lease:g} s) must be at most 0.8 of the visibility timeout "
            f"({visibility_timeout}): a message that comes back must find it lapsed"
        )
        raise SettingsError(message)
    return decorate(
        zdd,
        function,
        operation=operation,
        effects=effects,
        principal=ANONYMOUS,
        key=key,
        required=True,
        said=said,
        consumes=True,
    )


def _check(function: Callable[..., Any], operation: str, effects: str, said: Said) -> None:
    if effects not in get_args(Effects):
        message = f"{operation}: effects={effects!r}: say one of {', '.join(get_args(Effects))}"
        raise SettingsError(message)
    if inspect.isclass(function):
        message = f"{operation}: {function.__name__} is a class: decorate the methods that have effects"
        raise SettingsError(message)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        message = f"{operation}: a generator cannot be idempotent: its answer is never complete when it could be kept"
        raise SettingsError(message)
    if effects == "unsafe" and "Stream" in str(getattr(function, "__annotations__", {}).get("return", "")):
        message = f'{operation}: a stream cannot be kept, so an effects="unsafe" operation may not answer with one'
        raise SettingsError(message)
    read_fingerprint(said.get("fingerprint"))
    unknown = said.get("on_unknown", "hold")
    if unknown not in ("hold", "takeover") and not callable(unknown):
        message = f"{operation}: on_unknown={unknown!r}: say 'hold', 'takeover', or give a probe"
        raise SettingsError(message)
    for name, hook in (("answer", said.get("answer")), ("on_unknown", unknown)):
        if inspect.iscoroutinefunction(hook) and not inspect.iscoroutinefunction(function):
            message = f"{operation}: {name}= is async, and {function.__name__} is not: nothing there could await it"
            raise SettingsError(message)


def _seconds(given: str | float | None, default: float, operation: str) -> float:
    if given is None:
        return default
    try:
        return parse_duration(given)
    except ValueError as error:
        message = f"{operation}: {error}"
        raise SettingsError(message) from None
