"""What we ask Redis: one command or script, and how to read its reply."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, TypeVar

import msgspec

from zdd_sdk.errors import StoreReplyError

__all__ = ["Call", "Script", "load_script"]

T = TypeVar("T")
Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: its source and the SHA-1 under which Redis caches it."""

    name: str
    source: str
    sha: str


@functools.cache
def load_script(package: str, name: str, prelude: str = "") -> Script:
    """Read ``<package>/lua/<name>.lua`` from package data, after ``<prelude>.lua`` if there is one.

    A script's first line may be ``#!lua flags=…`` (Redis 7.0): it stays the first one, in front of the prelude.
    Scripts never raise: they ``pcall`` what may fail and answer a status array, because an error
    reply inside a pipeline makes some engines drop the connection (``traps.md``: fakeredis over TCP).
    """
    folder = resources.files(package).joinpath("lua")
    before, script = (
        folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") if part else "" for part in (prelude, name)
    )
    flags, _, rest = script.partition("\n") if script.startswith("#!") else ("", "", script)
    source = "\n".join(part for part in (flags, before, rest) if part)
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Call(msgspec.Struct, Generic[T], frozen=True):
    """One question to Redis.

    Attributes:
        read: turns the reply (bytes, int, list …, undecoded) into the typed result; pure.
        command: the command with its arguments, for a plain command; empty for a script.
        script: the script to run, for a script call.
        keys: every key touched; all in one slot. The first one routes the call on a Cluster.
        args: the script's arguments after the keys.
        again: the call may be sent a second time if its reply was lost, because doing it twice
            leaves what doing it once leaves. Everything else is sent at most once.
        on_error: maps this call's own error reply to a value, so that one call's error does not
            hide what another call of the same trip has done.
        behind: a command that goes right behind it over the same connection, as often as it is sent, such as ``WAIT``;
            ``read`` then gets both replies, of which the second may be a `StoreReplyError`.
    """

    read: Callable[[Any], T]
    command: tuple[Argument, ...] = ()
    script: Script | None = None
    keys: tuple[str, ...] = ()
    args: tuple[Argument, ...] = ()
    again: bool = False
    on_error: Callable[[StoreReplyError], T] | None = None
    behind: tuple[Argument, ...] = ()

    @property
    def name(self) -> str:
        """What a log line or an error calls it; never contains a key or a value."""
        return self.script.name if self.script else str(self.command[0])
