"""redis-py, imported late and by one thread at a time."""

from __future__ import annotations

from zdd_sdk.store.forklock import ForkLock

__all__ = ["load_client"]

_importing = ForkLock()


def load_client() -> None:
    """Import redis-py, once per process; both stores call it before they import a module that needs redis.

    Its packages import each other in a circle. Two threads that begin with it at the same moment, such as
    the first pulse and the first request, get a half-initialised module or an import deadlock; the
    rehearsal of the shop lost a request in each of three runs to that.
    """
    with _importing:
        import redis.asyncio.connection
        import redis.connection  # noqa: F401 — imported for its effect
