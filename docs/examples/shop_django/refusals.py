"""Answers to bad input: ``{"detail": …}`` with a status of 4xx."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin

T = TypeVar("T")


class Refused(Exception):
    """A request that cannot be fulfilled as it is."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RefusalMiddleware(MiddlewareMixin):
    """Turns `Refused` into its answer."""

    def process_exception(self, _: HttpRequest, error: Exception) -> JsonResponse | None:
        """Answer what a view has refused."""
        return JsonResponse({"detail": str(error)}, status=error.status) if isinstance(error, Refused) else None


def read(request: HttpRequest, form: type[T]) -> T:
    """Read the body of a request.

    Raises:
        Refused: it is not what the form says.
    """
    try:
        return msgspec.json.decode(request.body, type=form)
    except msgspec.MsgspecError as error:
        raise Refused(422, str(error)) from error
