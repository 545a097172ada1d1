"""What FastAPI and Starlette know of a request, for idempotent endpoints; and whether those are routed as decorated."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.encoders import jsonable_encoder
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Router

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.http import Answer
from zdd_sdk.http.asgi import Scope
from zdd_sdk.idempotency.bracket import bracket_of
from zdd_sdk.idempotency.browser import cors_gaps
from zdd_sdk.idempotency.claim import check_names

__all__ = ["StarletteSurface", "check_routes", "routes_of"]

_log = logging.getLogger("zdd.idempotency")

_late: dict[int, tuple[object, bool]] = {}
"""By id, with the route itself so that the id stays its own: routes cannot be hashed."""


class StarletteSurface:
    """One request, as the router has left it in its scope.

    Args:
        scope: the request's.
    """

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def response(self, answer: Answer) -> Response:
        """Return a response with exactly these headers and bytes."""
        response = Response(answer.body, answer.status)
        lengths = [(name, value) for name, value in response.raw_headers if name == b"content-length"]
        response.raw_headers = [
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers),
            *lengths,
        ]
        return response

    def answer_of(self, result: Any) -> Answer | None:
        """Return the answer that a result will be, but for its response model; ``None`` for a stream."""
        response = result
        if not isinstance(result, Response):
            status = getattr(self._scope.get("route"), "status_code", None)
            response = JSONResponse(jsonable_encoder(result), status or 200)
        body = getattr(response, "body", None)
        return None if body is None else Answer(response.status_code, list(response.headers.items()), bytes(body))

    def path_parameters(self) -> Mapping[str, object]:
        """Return the route's and those of the mounts around it."""
        found: Mapping[str, object] = self._scope.get("path_params", {})
        return found

    def query(self) -> str:
        """Return the query string."""
        return str(self._scope.get("query_string", b"").decode("latin-1"))

    def commits_late(self) -> bool:
        """Whether a dependency of the route may commit after the answer has been made."""
        route = self._scope.get("route")
        if route is None:
            return False
        if id(route) not in _late:
            dependant: Dependant | None = getattr(route, "dependant", None)
            _late[id(route)] = route, dependant is not None and bool(_late_dependencies(dependant))
        return _late[id(route)][1]


def _late_dependencies(dependant: Dependant) -> list[str]:
    """Names of those that go on after ``yield`` once the answer is sent: FastAPI's default scope, ``request``."""
    found = []
    for one in dependant.dependencies:
        if _is_generator(one.call) and getattr(one, "scope", None) != "function":
            found.append(getattr(one.call, "__name__", repr(one.call)))
        found += _late_dependencies(one)
    return found


def _is_generator(call: Callable[..., Any] | None) -> bool:
    function = inspect.unwrap(call) if call is not None else None
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004 - an object that is called
        if inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
            return True
    return False


def check_routes(app: Starlette, zdd: ZeroDowntime) -> None:
    """Refuse to serve an endpoint without its bracket, and say whose answers wait for background tasks.

    Raises:
        SettingsError: ``@zdd.idempotent`` lies above ``@app.post``, so that the bare function is what is routed; or
            two endpoints share the name of an operation.
    """
    bare = {bracket.function: bracket for bracket in zdd.brackets}
    routes = list(routes_of(app, set()))
    brackets = [found for route in routes if (found := bracket_of(getattr(route, "endpoint", None))) is not None]
    check_names({id(found): found.operation for found in brackets}.values())
    for gap in cors_gaps(app) if brackets else ():
        _log.warning("browsers of other origins cannot use idempotency keys: %s", gap)
    for route in routes:
        endpoint = getattr(route, "endpoint", None)
        bracket = bracket_of(endpoint)
        if bracket is None and (bracket := bare.get(endpoint)) is not None:
            message = (
                f"{bracket.operation.name}: {getattr(route, 'path', '')} routes the function without its bracket: "
                "put @zdd.idempotent(…) below the route's decorator, right above the function"
            )
            raise SettingsError(message)
        dependant = getattr(route, "dependant", None)
        if bracket is not None and dependant is not None and (names := _late_dependencies(dependant)):
            _log.warning(
                "%s: the answer waits for %s to end, and so for background tasks%s; Depends(…, scope='function') "
                "commits before the answer is made",
                bracket.operation.name,
                ", ".join(names),
                ", unless the endpoint commits itself" if bracket.operation.effects == "db" else "",
            )


def routes_of(found: object, seen: set[int]) -> Iterator[object]:
    """Yield every route of an application, and of what is mounted or included in it."""
    if found is None or id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, Starlette | Router):
        for route in found.routes:
            yield from routes_of(route, seen)
        return
    if hasattr(found, "endpoint"):
        yield found
    for name in ("app", "original_router"):
        below = getattr(found, name, None)
        if isinstance(below, Starlette | Router) or hasattr(below, "app") or hasattr(below, "original_router"):
            yield from routes_of(below, seen)
