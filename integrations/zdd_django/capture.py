"""The final bytes of a view, below all other middleware; and what Django knows of its request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from zdd_sdk.http import Answer, Exchange, current_exchange
from zdd_sdk.http.body import KEY_HEADER

__all__ = ["CaptureMiddleware", "DjangoSurface"]


class DjangoSurface:
    """One request.

    Args:
        request: Django's; a view may have it in a wrapper of its own, as REST framework does.
    """

    __slots__ = ("_request",)

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def response(self, answer: Answer) -> HttpResponse:
        """Return a response with exactly these headers and bytes."""
        response = HttpResponse(answer.body, status=answer.status)
        del response.headers["Content-Type"]
        for name, value in answer.headers:
            response.headers[name.title()] = value
        return response

    def answer_of(self, result: Any) -> Answer | None:
        """Return the answer that what a view returns will be; ``None`` for a stream, and before it is rendered."""
        return answer_of(result)

    def path_parameters(self) -> Mapping[str, object]:
        """Return what the URLconf has taken out of the path: by name, or by position."""
        match = self._request.resolver_match
        return {} if match is None else {**{str(at): value for at, value in enumerate(match.args)}, **match.kwargs}

    def query(self) -> str:
        """Return the query string."""
        return str(self._request.META.get("QUERY_STRING", ""))

    def commits_late(self) -> bool:
        """Return ``False``: the leave comes after all middleware, and with it after every transaction."""
        return False


class CaptureMiddleware:
    """Shows the answers of views to idempotent operations; the last one in ``MIDDLEWARE``.

    From there it sees each answer as it leaves the view: also of an exception, with its template rendered, its bytes
    not yet compressed, and after ``ATOMIC_REQUESTS`` has committed. Streams pass by. Native in both of Django's modes.

    Args:
        get_response: what calls the view.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Handle one request."""
        exchange = _attended(request)
        if exchange is None:
            return self.get_response(request)  # type: ignore[no-any-return]
        return self._respond(exchange, request) if self._async else _show(exchange, self.get_response(request))

    async def _respond(self, exchange: Exchange, request: HttpRequest) -> HttpResponseBase:
        return _show(exchange, await self.get_response(request))


def answer_of(response: Any) -> Answer | None:
    """Return a response's status, headers and bytes; ``None`` for a stream, and for what has to be rendered first."""
    if not isinstance(response, HttpResponse) or not getattr(response, "is_rendered", True):
        return None
    return Answer(response.status_code, [(name.lower(), value) for name, value in response.items()], response.content)


def _attended(request: HttpRequest) -> Exchange | None:
    """The exchange of a request with an ``Idempotency-Key``; any other costs nothing."""
    exchange = current_exchange()
    if exchange is None or exchange.header(KEY_HEADER) is None:
        return None
    exchange.surface = DjangoSurface(request)
    return exchange


def _show(exchange: Exchange, response: HttpResponseBase) -> HttpResponseBase:
    exchange.status = response.status_code
    if exchange.wants_final_bytes and (answer := answer_of(response)) is not None:
        exchange.final_bytes(answer.status, answer.headers, answer.body)
    exchange.committed()
    return response
