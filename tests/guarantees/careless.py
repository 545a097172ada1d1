"""The negative control: the same routes over a session as other libraries keep it.

One string per session under the id as the cookie carries it; read whole at the start and written whole at the end
of each request; an id of the client's choice is taken; the id of before a login leads to the session after it; when
Redis is away the session is empty and the cookie is deleted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

from tests.guarantees.routes import act
from tests.guarantees.stacks import Answer, Asked
from zdd_sdk.http import cookie_values
from zdd_sdk.store.wire import Wire

NAME = "session"


class CarelessHand:
    """A session in one string."""

    def __init__(self, wire: Wire, identity: str) -> None:
        self.identity = identity or secrets.token_hex(16)
        self.wire = wire
        pointed = wire.ask("GET", f"pointer:{self.identity}")
        self.identity = pointed.decode() if pointed else self.identity
        data = wire.ask("GET", f"careless:{self.identity}")
        self.values: dict[str, Any] = json.loads(data) if data else {}
        self.ended = False

    async def user(self) -> str | None:
        return self.values.get("user")

    async def everything(self) -> dict[str, Any]:
        return {name: value for name, value in self.values.items() if name != "user"}

    async def read(self, name: str) -> Any:
        return self.values.get(name)

    async def write(self, name: str, value: Any) -> None:
        self.values[name] = value

    async def merge(self, operation: str, *given: Any) -> None:
        name, *_, value = given
        if operation == "add":
            self.values[name] = self.values.get(name, 0) + value
        elif operation == "compare_and_set":
            self.values[name] = value
        else:
            self.values[name] = [*self.values.get(name, []), *(value if operation == "union" else [value])]

    async def login(self, user: str, label: str) -> None:
        old, self.identity = self.identity, secrets.token_hex(16)
        self.wire.ask("SET", f"pointer:{old}", self.identity)
        self.values["user"] = user

    async def logout(self) -> None:
        self.wire.ask("DEL", f"careless:{self.identity}")
        self.values, self.ended = {}, True

    async def rotate(self) -> None:
        old, self.identity = self.identity, secrets.token_hex(16)
        self.wire.ask("DEL", f"careless:{old}")

    async def save(self) -> None:
        if self.values:
            self.wire.ask("SET", f"careless:{self.identity}", json.dumps(self.values))

    async def devices(self) -> list[str]:
        return []

    async def logout_everywhere(self) -> int:
        return 0

    async def wait(self, moment: Callable[[], None]) -> None:
        await asyncio.to_thread(moment)


def send_carelessly(port: int) -> Callable[[Asked], Answer]:
    """The application, as `Stack.send`."""

    def send(asked: Asked) -> Answer:
        (presented,) = cookie_values([asked.headers.get("cookie", "")], NAME)[:1] or ("",)
        try:
            with Wire(port) as wire:
                hand = CarelessHand(wire, presented)
                said = asyncio.run(act(asked.path, asked.query, lambda: hand))
                asked.on_head()
                asyncio.run(hand.save())
        except OSError:
            return Answer(200, [("set-cookie", f"{NAME}=; Max-Age=0")], b'{"user": null, "fields": {}}')
        line = f"{NAME}=; Max-Age=0" if hand.ended else f"{NAME}={hand.identity}"
        return Answer(said.status, [("set-cookie", line)], json.dumps(said.body).encode())

    return send
