"""What Flask knows of a request, for idempotent endpoints; and whether those are routed as decorated."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.http import Answer, Exchange, current_exchange
from zdd_sdk.idempotency.bracket import Bracket, bracket_of
from zdd_sdk.idempotency.browser import cors_gaps
from zdd_sdk.idempotency.claim import check_names

__all__ = ["FlaskSurface", "check_views", "show_answers"]

_log = logging.getLogger("zdd.idempotency")


class FlaskSurface:
    """The request that Flask is handling: always its own proxies', so one for all of them."""

    def response(self, answer: Answer) -> Response:
        """Return a response with exactly these headers and bytes; werkzeug adds the length."""
        response = current_app.response_class(answer.body, answer.status)
        response.headers = Headers(answer.headers)
        return response

    def answer_of(self, result: Any) -> Answer | None:
        """Return the answer that what a view returns will be; ``None`` for a stream."""
        response = current_app.make_response(result)
        if response.is_streamed or response.direct_passthrough:
            return None
        return Answer(response.status_code, list(response.headers), response.get_data())

    def path_parameters(self) -> Mapping[str, object]:
        """Return what the rule has taken out of path and host."""
        return request.view_args or {}

    def query(self) -> str:
        """Return the query string."""
        return request.query_string.decode("latin-1")

    def commits_late(self) -> bool:
        """Return ``False``: what commits in the view or in ``after_request`` is there before the answer begins."""
        return False


_surface = FlaskSurface()


def show_answers(app: Flask) -> None:
    """Show each complete answer to who waits for its final bytes, before any ``after_request`` function has it.

    Flask comes by here with every answer: of a view, of an error handler, and the 500 of an unhandled error.
    """
    make, process = app.make_response, app.process_response

    def make_response(rv: Any) -> Response:
        # Flask would run it as an application within, of whose answer it knows no bytes.
        return make(rv.get_response(request.environ) if isinstance(rv, HTTPException) else rv)

    def process_response(response: Response) -> Response:
        exchange = current_exchange()
        if exchange is not None and exchange.wants_final_bytes:
            _show(exchange, response)
        return process(response)

    app.make_response = make_response  # type: ignore[method-assign]
    app.process_response = process_response  # type: ignore[method-assign]


def _show(exchange: Exchange, response: Response) -> None:
    if (answer := _surface.answer_of(response)) is not None:
        exchange.final_bytes(answer.status, answer.headers, answer.body)


def check_views(known: weakref.ref[Flask], zdd: ZeroDowntime) -> None:
    """Refuse to serve an endpoint without its bracket.

    Args:
        known: the application; nothing to check once it is forgotten.
        zdd: the service.

    Raises:
        SettingsError: ``@zdd.idempotent`` lies above ``@app.post``, so that the bare function is what is routed; or
            two endpoints share the name of an operation.
    """
    if (app := known()) is None:
        return
    views = [app.view_functions.get(rule.endpoint) for rule in app.url_map.iter_rules()]
    brackets = [bracket for view in views if (bracket := bracket_of(view)) is not None]
    check_names({id(bracket): bracket.operation for bracket in brackets}.values())
    bare = {function: bracket for bracket in zdd.brackets for function in _within(bracket)}
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        bracket = bare.get(view)
        if bracket is not None and bracket_of(view) is None:
            message = (
                f"{bracket.operation.name}: {rule.rule} routes the function without its bracket: "
                "put @zdd.idempotent(…) below the route's decorator, right above the function"
            )
            raise SettingsError(message)
    for gap in cors_gaps(app) if any(bracket.endpoint for bracket in brackets) else ():
        _log.warning("browsers of other origins cannot use idempotency keys: %s", gap)


def _within(bracket: Bracket[Any]) -> Iterator[object]:
    """Yield what a bracket lies around: the function, and those that decorators below it have wrapped."""
    function: object = bracket.function
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
