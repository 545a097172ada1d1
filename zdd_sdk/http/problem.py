"""Answers of our own: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from zdd_sdk.errors import IdempotencyError, ZddError

__all__ = ["Answer", "problem", "problem_of"]

_DETAILS = {503: "something this request needs is away for the moment; try again later"}


@dataclass(slots=True)
class Answer:
    """A whole response: status, headers in lower case, body."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def problem(status: int, code: str, detail: str, *, retry_after: float | None = None, title: str = "") -> Answer:
    """Build a problem+json answer.

    Args:
        status: HTTP status.
        code: stable short name; ``type`` becomes ``urn:zdd:<code>``.
        detail: what happened and what to do; no secret value.
        retry_after: seconds, rounded up, for ``Retry-After``.
        title: default the status's phrase.
    """
    body = {"type": f"urn:zdd:{code}", "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    if retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(retry_after)))))
    encoded = msgspec.json.encode(body)
    headers.append(("content-length", str(len(encoded))))
    return Answer(status, headers, encoded)


def problem_of(error: ZddError) -> Answer:
    """Build the answer for one of our errors, from its ``code``, ``status`` and, if it is public, its message.

    A message that names an address, an option or a file is for the log, not for whoever asks.
    """
    detail = str(error) if error.public else _DETAILS.get(error.status, "the server could not handle this request")
    retry_after, title = getattr(error, "retry_after", None), getattr(error, "title", "")
    answer = problem(error.status, error.code, detail, retry_after=retry_after, title=title)
    if isinstance(error, IdempotencyError):
        answer.headers.append(("x-should-retry", str(error.retry).lower()))
    return answer
