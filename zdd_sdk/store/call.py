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

__all__ = ["Call", "Script", "fuse", "load_script"]

T = TypeVar("T")
U = TypeVar("U")
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
    return Script(name, source, _sha(source))


_BOTH = """
local function part(list, first, last)
  local taken = {}
  for i = first, last do taken[#taken + 1] = list[i] end
  return taken
end
local keys, args = tonumber(ARGV[1]), 2 + tonumber(ARGV[2])
return {one(part(KEYS, 1, keys), part(ARGV, 3, args)), two(part(KEYS, keys + 1, #KEYS), part(ARGV, args + 1, #ARGV))}
"""


@functools.cache
def _both(first: Script, second: Script) -> Script:
    bodies = zip(("one", "two"), (first, second), strict=True)
    source = "\n".join(f"local function {name}(KEYS, ARGV)\n{script.source}\nend" for name, script in bodies) + _BOTH
    return Script(f"{first.name}+{second.name}", source, _sha(source))


def _sha(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


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


def fuse(first: Call[T], second: Call[U]) -> Call[tuple[T, U]]:
    """Make one command of two script calls that always go together: the first, then the second, and nothing between.

    For scripts without a ``#!`` line that never raise, and for keys of one slot, or none where there are slots.
    """
    assert first.script is not None  # noqa: S101 - for type checkers
    assert second.script is not None  # noqa: S101

    def read(reply: Any) -> tuple[T, U]:
        return first.read(reply[0]), second.read(reply[1])

    def on_error(error: StoreReplyError) -> tuple[T, U]:
        if first.on_error is None or second.on_error is None:
            raise error
        return first.on_error(error), second.on_error(error)

    script, sizes = _both(first.script, second.script), (len(first.keys), len(first.args))
    keys, args = first.keys + second.keys, (*sizes, *first.args, *second.args)
    return Call(read, (), script, keys, args, again=first.again and second.again, on_error=on_error)
