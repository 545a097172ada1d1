"""Where sessions may lie while a service or an environment is being renamed. Pure.

A session stays where it was found: saves, marks, logouts and periodic rotations go there, whichever release carries
them out. A new session, and with it whatever a login or `rotate()` continues, lies at home. So two releases
that call different places home, and read both, share every session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec.structs import replace

from zdd_sdk.errors import SettingsError
from zdd_sdk.sessions.ids import SessionId
from zdd_sdk.settings import SessionSettings
from zdd_sdk.store.keys import Keys

__all__ = ["everywhere", "other_homes"]

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,64})/([A-Za-z0-9._-]{1,64})", re.ASCII)


def other_homes(settings: SessionSettings) -> tuple[Keys, ...]:
    """Read ``sessions.also_read_keys``.

    Raises:
        SettingsError: an entry is not ``service/environment``.
    """
    places = [(text, _PLACE.fullmatch(text)) for text in settings.also_read_keys]
    for text, match in places:
        if match is None:
            message = f"sessions.also_read_keys cannot hold {text!r}: service/environment, such as shop/production"
            raise SettingsError(message)
    return tuple(Keys(match[1], match[2]) for _, match in places if match is not None)


def everywhere(ids: Iterable[SessionId], homes: int) -> tuple[SessionId, ...]:
    """Return each id in each home, each once."""
    if homes == 1:
        return tuple(dict.fromkeys(ids))
    return tuple(dict.fromkeys(replace(identity, home=home) for identity in ids for home in range(homes)))
