"""`Stores`: the blocking and the asyncio store of one process, over one Redis."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import cast

from zdd_sdk.errors import StoreNotConfigured
from zdd_sdk.settings import StoreSettings, production_marker
from zdd_sdk.store.client import load_client
from zdd_sdk.store.core import Core
from zdd_sdk.store.keys import Keys
from zdd_sdk.store.link import Credentials
from zdd_sdk.store.protocol import Store
from zdd_sdk.store.url import Target, parse_url

__all__ = ["Stores"]


class Stores:
    """One Redis seen from threads and from event loops. Nothing connects before the first call.

    A forked child opens connections of its own.

    Args:
        settings: where Redis is and how long anything may wait for it.
        keys: names the service and environment an embedded engine is shared in.
        on_breaker_open: called each time Redis turns out to be away (wakes the pulse).
        environ: where production markers are looked for; default the process's environment.
        credentials: returns user name and password for each new connection, instead of those in the URL;
            called in whichever thread or loop connects, so it must not block (cache the token).
    """

    def __init__(
        self,
        settings: StoreSettings,
        keys: Keys,
        *,
        on_breaker_open: Callable[[], None] | None = None,
        environ: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._environ = os.environ if environ is None else environ
        self._core = Core(settings, self._find, on_breaker_open, credentials)
        self._blocking: Store | None = None
        self._aio: Store | None = None

    @property
    def blocking(self) -> Store:
        """For threads: coroutines that never suspend, run by `zdd_sdk.store.finish`."""
        if self._blocking is None:
            from zdd_sdk.store.blocking import BlockingStore

            self._blocking = cast("Store", BlockingStore(self._core))
        return self._blocking

    @property
    def aio(self) -> Store:
        """For coroutines: one pool per running event loop, closed with it."""
        if self._aio is None:
            load_client()
            from zdd_sdk.store.aio import AsyncioStore

            self._aio = cast("Store", AsyncioStore(self._core))
        return self._aio

    @property
    def available(self) -> bool:
        """``False`` while the breaker is open."""
        return self._core.breaker.closed

    def check(self) -> Target:
        """Read the URL without connecting or starting anything.

        Raises:
            StoreNotConfigured: no URL in production.
            SettingsError: the URL cannot be read.
        """
        target = parse_url(self._settings.redis_url)
        marker = production_marker(self._keys.environment, self._environ)
        if target.kind == "embedded" and marker:
            message = (
                f"no ZDD_REDIS_URL, and {marker} says this is production: an embedded engine would lose everything. "
                "Set ZDD_REDIS_URL, or ZDD_REDIS_URL=off to run without a store"
            )
            raise StoreNotConfigured(message)
        return target

    def load(self) -> None:
        """Import the client now, so that no request waits for it; connects nothing."""
        load_client()

    def close(self) -> None:
        """Close the blocking side; a loop's connections close with the loop."""
        self._core.close_blocking()

    def _find(self) -> Target:
        target = self.check()
        if target.kind != "embedded":
            return target
        from zdd_sdk.store.embedded import shared_engine

        return parse_url(shared_engine(self._keys.service, self._keys.environment))
