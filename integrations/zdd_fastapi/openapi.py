"""Idempotent endpoints as OpenAPI shows them: the header they want, what they answer, how long a key is remembered."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from zdd_fastapi.surface import routes_of
from zdd_sdk.idempotency.bracket import Bracket, bracket_of

__all__ = ["describe_idempotency"]

_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_REPLIES = {
    "400": "No Idempotency-Key, or one that cannot be used",
    "409": "The first request with this key is still running, or its outcome is unknown or no longer kept",
    "503": "The key cannot be claimed at the moment; nothing was done",
}
_REUSED = "or this key came with another request before"


def describe_idempotency(app: FastAPI) -> None:
    """Have ``app.openapi()`` describe every endpoint that is decorated with ``@zdd.idempotent``."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        if "x-zdd" not in schema:
            schema["x-zdd"] = True
            _describe_all(app, schema)
        return schema

    if not getattr(plain, "__zdd__", False):
        openapi.__zdd__ = True  # type: ignore[attr-defined]
        app.openapi = openapi  # type: ignore[method-assign]


def _describe_all(app: FastAPI, schema: dict[str, Any]) -> None:
    for route in routes_of(app, set()):
        bracket = bracket_of(getattr(route, "endpoint", None))
        if bracket is None or not isinstance(route, APIRoute):
            continue
        schema.setdefault("components", {}).setdefault("schemas", {}).setdefault("Problem", _SCHEMA)
        for path, operations in schema.get("paths", {}).items():
            for method in route.methods or ():
                described = operations.get(method.lower())
                if described and path.endswith(route.path_format) and described.get("operationId") == _id(route):
                    _describe(described, bracket)


def _id(route: APIRoute) -> str:
    return str(route.operation_id or route.unique_id)


def _describe(operation: dict[str, Any], bracket: Bracket[Any]) -> None:
    lifetime = bracket.lifetime
    operation.setdefault("parameters", []).append(
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": bracket.operation.required,
            "description": (
                "A new random key per request, the same one when it is sent again; its outcome is remembered for "
                f"{lifetime} (ISO 8601)"
            ),
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    )
    operation["x-idempotency-key-lifetime"] = lifetime
    responses = operation.setdefault("responses", {})
    for status, description in _REPLIES.items():
        said = responses.setdefault(status, {"description": description})
        said.setdefault("content", {})["application/problem+json"] = _PROBLEM
    unfit = responses.setdefault("422", {"description": "The request is not valid"})
    unfit["description"] = f"{unfit.get('description', '')}, {_REUSED}"
    unfit.setdefault("content", {})["application/problem+json"] = _PROBLEM
