"""The release before devices, lifetimes and periodic rotations, by the very scripts it runs (``scripts_v1``)."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.flows.sessions.visitor import PLACES, key_of
from zdd_sdk.sessions import codec
from zdd_sdk.sessions.calls import SPARE
from zdd_sdk.sessions.ids import mint_id
from zdd_sdk.store.wire import Wire

_SCRIPTS = Path("tests/golden/sessions/scripts_v1")
_DAY = 86_400_000


class EarlierRelease:
    """Reads and writes sessions as 0.1.0 did."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def load(self, cookie: str) -> dict[bytes, bytes] | None:
        status, _, *rest = self._run("load", cookie, SPARE)
        return dict(zip(rest[0][::2], rest[0][1::2], strict=True)) if status == b"ok" else None

    def login(self, user: str, **values: object) -> str:
        cookie = mint_id(PLACES.tags(user)[0]).text
        fields = [part for name, value in values.items() for part in (f"a:{name}", codec.encode(value))]
        args = (SPARE, 14 * _DAY, 30 * _DAY, "", "", "_n", 1, "_w", "0", "_u", user, *fields)
        assert self._run("create", cookie, *args)[0] == b"ok"
        return cookie

    def rotate(self, cookie: str, user: str) -> str:
        old = self.load(cookie)
        assert old is not None
        new = mint_id(PLACES.tags(user)[0]).text
        fields = [part for name, data in old.items() if not name.startswith(b"_") for part in (name, data)]
        meta = (SPARE, 14 * _DAY, 30 * _DAY, old[b"_x"], old[b"_c"], "_n", 1, "_w", "0", "_u", user)
        assert self._run("create", new, *meta, *fields)[0] == b"ok"
        assert self._run("mark", cookie, 30_000, old[b"_g"], 1)[0] == b"ok"
        return new

    def save(self, cookie: str, **values: object) -> bytes:
        fields = [part for name, value in values.items() for part in (f"a:{name}", codec.encode(value))]
        return self._run("save", cookie, SPARE, secrets.token_bytes(8), "0", len(values), *fields)[0]

    def logout(self, cookie: str) -> None:
        self._wire.ask("UNLINK", key_of(cookie))

    def _run(self, name: str, cookie: str, *args: object) -> list:
        source = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
        return self._wire.ask("EVAL", source, 1, key_of(cookie), *args)
