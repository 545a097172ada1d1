"""problem+json (RFC 9457) and the error tree."""

from __future__ import annotations

import json

import pytest

from zdd_sdk import errors
from zdd_sdk.http import problem_of


def classes() -> list[type[errors.ZddError]]:
    return [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", classes())
def test_every_error_is_ours_and_somebody_elses(kind: type[errors.ZddError]) -> None:
    assert issubclass(kind, errors.ZddError)
    if kind not in {errors.ZddError, errors.SessionError}:
        builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert 3 < len(builtins), "only Exception, BaseException and object"
    assert kind.__name__ in (errors.__doc__ or "")


def test_codes_are_unique() -> None:
    assert len(classes()) == len({kind.code for kind in classes()})


def test_an_error_becomes_an_answer() -> None:
    answer = problem_of(errors.StoreUnavailable("no connection to 10.0.0.3", retry_after=1.2))

    assert 503 == answer.status
    assert ("retry-after", "2") in answer.headers
    assert ("content-type", "application/problem+json") in answer.headers
    assert {
        "type": "urn:zdd:store-unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "something this request needs is away for the moment; try again later",
    } == json.loads(answer.body)


def test_only_what_concerns_the_client_is_told() -> None:
    told = problem_of(errors.SessionGone("the session has ended"))
    kept = problem_of(errors.StoreNotConfigured("set ZDD_REDIS_URL"))

    assert "the session has ended" == json.loads(told.body)["detail"]
    assert "ZDD_REDIS_URL" not in kept.body.decode()
