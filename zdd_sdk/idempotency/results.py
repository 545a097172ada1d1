"""What plain functions return, as it is kept and given again."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec

from zdd_sdk.errors import IdempotencyOutcomeCommitted, SettingsError
from zdd_sdk.idempotency.answer import StoredAnswer

__all__ = ["Results"]

_log = logging.getLogger("zdd.idempotency")


class Results:
    """Results of one function, in the type of its return annotation: what msgspec knows, and pydantic's models.

    Args:
        function: whose.
        operation: for messages.
        most: bytes of the largest result that is kept.
    """

    def __init__(self, function: Callable[..., Any], operation: str, most: int) -> None:
        self._function, self._operation, self._most = function, operation, most

    def keep(self, result: Any) -> StoredAnswer | None:
        """Return what is stored of a result, once it has been read back; ``None``, and said: it cannot be kept.

        Its effect is there either way, so nothing is raised: the caller gets the result, and duplicates
        `IdempotencyOutcomeCommitted`.
        """
        try:
            data = _encoder.encode(result)
            self._decoder.decode(data)
        except Exception as error:  # noqa: BLE001 - hooks of the application's own types may raise anything
            _log.error(
                "%s: it has returned a %s that cannot be kept: %s", self._operation, type(result).__name__, error
            )
            return None
        if len(data) > self._most:
            _log.error("%s: it has returned %d bytes, more than idempotency.max_body", self._operation, len(data))
            return None
        return StoredAnswer(0, (), data)

    def read(self, answer: StoredAnswer) -> Any:
        """Return the result again.

        Raises:
            IdempotencyOutcomeCommitted: it was kept as another type than what is annotated now.
        """
        try:
            return self._decoder.decode(answer.body)
        except msgspec.MsgspecError as error:
            message = f"{self._operation}: what the first run has returned is not what is annotated now: {error}"
            raise IdempotencyOutcomeCommitted(message) from error

    def check(self) -> None:
        """Find the annotation, before anything has run.

        Raises:
            SettingsError: there is no such name at run time, or nothing can be read as that type.
        """
        _ = self._decoder

    @cached_property
    def _decoder(self) -> msgspec.msgpack.Decoder[Any]:
        try:
            wanted = inspect.get_annotations(inspect.unwrap(self._function), eval_str=True).get("return")
            return msgspec.msgpack.Decoder(Any if wanted is None else wanted, dec_hook=_model)
        except (NameError, TypeError) as error:
            message = (
                f"{self._operation}: its results are given again as what its return annotation says, and that cannot "
                f"be used at run time: {error}"
            )
            raise SettingsError(message) from error


def _plain(value: Any) -> Any:
    """Write a pydantic model as its own JSON says it, so that it can be read again."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        message = f"objects of type {type(value).__name__} are not supported"
        raise TypeError(message)
    return dump(mode="json", by_alias=True, round_trip=True)


def _model(wanted: type[Any], value: Any) -> Any:
    """Read one."""
    validate = getattr(wanted, "model_validate_json", None)
    if validate is None:
        message = f"objects of type {wanted.__name__} are not supported"
        raise TypeError(message)
    return validate(msgspec.json.encode(value))


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
