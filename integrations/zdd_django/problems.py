"""Our errors as Django responses: problem+json, wherever in Django's stack they were raised."""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from zdd_sdk.errors import ZddError
from zdd_sdk.http import Answer, problem_of
from zdd_sdk.web.asgi import severity
from zdd_sdk.web.leave import cors_headers

__all__ = ["mended", "note_failure", "problem_response", "replaced", "respond"]

_log = logging.getLogger("zdd.web")
_FAILURE = "_zdd_failure"


def respond(answer: Answer) -> HttpResponse:
    """Make Django's response of an answer of ours."""
    headers = {name.title(): value for name, value in answer.headers}
    return HttpResponse(answer.body, status=answer.status, headers=headers)


def problem_response(request: HttpRequest, error: ZddError) -> HttpResponse:
    """Answer one of our errors, and log it."""
    _log.log(severity(error), "%s %s answered %s: %s", request.method, request.path, error.code, error)
    return respond(problem_of(error))


def replaced(response: HttpResponseBase, instead: HttpResponse) -> HttpResponse:
    """Send another response instead, with what browsers need to show it; the first one is closed with it."""
    for name, value in cors_headers(response.items()):
        instead.headers[name] = value
    instead._resource_closers = response._resource_closers  # type: ignore[attr-defined]  # noqa: SLF001
    return instead


def note_failure(*, request: HttpRequest | None = None, **_: Any) -> None:
    """Remember which of our errors Django is about to answer with 500: raised in middleware, past process_exception."""
    error = sys.exc_info()[1]
    if isinstance(error, ZddError) and request is not None:
        setattr(request, _FAILURE, error)


def mended(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Return the problem that belongs in the place of Django's 500, if one of our errors caused it."""
    error: ZddError | None = request.__dict__.get(_FAILURE)
    if error is None or response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
        return response
    return replaced(response, problem_response(request, error))
