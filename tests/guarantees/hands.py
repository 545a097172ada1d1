"""One hand on the session of each framework, so that the routes are written once.

Each is what an application of that framework writes: Starlette's session object, Django's ``request.session`` with
and without ``a``, ``flask.session``. The routes are coroutines; where nothing is asynchronous they never suspend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol


class Hand(Protocol):
    """What the routes do with a session."""

    async def user(self) -> str | None: ...
    async def everything(self) -> dict[str, Any]: ...
    async def read(self, name: str) -> Any: ...
    async def write(self, name: str, value: Any) -> None: ...
    async def merge(self, operation: str, *given: Any) -> None: ...
    async def login(self, user: str, label: str) -> None: ...
    async def logout(self) -> None: ...
    async def rotate(self) -> None: ...
    async def save(self) -> None: ...
    async def devices(self) -> list[str]: ...
    async def logout_everywhere(self) -> int: ...
    async def wait(self, moment: Callable[[], None]) -> None: ...


class FastapiHand:
    """`zdd_fastapi.LazySession`, loaded where it is looked into."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def user(self) -> str | None:
        return (await self._session.load()).user

    async def everything(self) -> dict[str, Any]:
        return dict(await self._session.load())

    async def read(self, name: str) -> Any:
        return (await self._session.load()).get(name)

    async def write(self, name: str, value: Any) -> None:
        (await self._session.load())[name] = value

    async def merge(self, operation: str, *given: Any) -> None:
        getattr(await self._session.load(), operation)(*given)

    async def login(self, user: str, label: str) -> None:
        (await self._session.load()).login(user, **({"label": label} if label else {}))

    async def logout(self) -> None:
        self._session.logout()

    async def rotate(self) -> None:
        (await self._session.load()).rotate()

    async def save(self) -> None:
        await self._session.save()

    async def devices(self) -> list[str]:
        await self._session.load()
        return [device.label for device in await self._session.devices()]

    async def logout_everywhere(self) -> int:
        await self._session.load()
        return await self._session.logout_everywhere()

    async def wait(self, moment: Callable[[], None]) -> None:
        await asyncio.to_thread(moment)


class FlaskHand:
    """``flask.session``."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def user(self) -> str | None:
        return self._session.user

    async def everything(self) -> dict[str, Any]:
        return dict(self._session)

    async def read(self, name: str) -> Any:
        return self._session.get(name)

    async def write(self, name: str, value: Any) -> None:
        self._session[name] = value

    async def merge(self, operation: str, *given: Any) -> None:
        getattr(self._session, operation)(*given)

    async def login(self, user: str, label: str) -> None:
        self._session.login(user, label=label)

    async def logout(self) -> None:
        self._session.logout()

    async def rotate(self) -> None:
        self._session.rotate()

    async def save(self) -> None:
        self._session.save()

    async def devices(self) -> list[str]:
        return [device.label for device in self._session.devices()]

    async def logout_everywhere(self) -> int:
        return self._session.logout_everywhere()

    async def wait(self, moment: Callable[[], None]) -> None:
        moment()


class DjangoHand:
    """``request.session`` under WSGI."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._session = request.session

    async def user(self) -> str | None:
        return name_of(self._session.get("_auth_user_id"))

    async def everything(self) -> dict[str, Any]:
        return own(dict(self._session.items()))

    async def read(self, name: str) -> Any:
        return self._session.get(name)

    async def write(self, name: str, value: Any) -> None:
        self._session[name] = value

    async def merge(self, operation: str, *given: Any) -> None:
        getattr(self._session, operation)(*given)

    async def login(self, user: str, label: str) -> None:
        from django.contrib.auth import login

        login(self._request, guest(user))

    async def logout(self) -> None:
        self._session.flush()

    async def rotate(self) -> None:
        self._session.cycle_key()

    async def save(self) -> None:
        self._session.save()

    async def devices(self) -> list[str]:
        return [device.label for device in self._session.devices()]

    async def logout_everywhere(self) -> int:
        return self._session.logout_everywhere()

    async def wait(self, moment: Callable[[], None]) -> None:
        moment()


class AsyncDjangoHand:
    """``request.session`` in coroutines under ASGI."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._session = request.session

    async def user(self) -> str | None:
        return name_of(await self._session.aget("_auth_user_id"))

    async def everything(self) -> dict[str, Any]:
        return own(dict(await self._session.aitems()))

    async def read(self, name: str) -> Any:
        return await self._session.aget(name)

    async def write(self, name: str, value: Any) -> None:
        await self._session.aset(name, value)

    async def merge(self, operation: str, *given: Any) -> None:
        await getattr(self._session, f"a{operation}")(*given)

    async def login(self, user: str, label: str) -> None:
        from django.contrib.auth import alogin

        await alogin(self._request, guest(user))

    async def logout(self) -> None:
        await self._session.aflush()

    async def rotate(self) -> None:
        await self._session.acycle_key()

    async def save(self) -> None:
        await self._session.asave()

    async def devices(self) -> list[str]:
        return [device.label for device in await self._session.adevices()]

    async def logout_everywhere(self) -> int:
        return await self._session.alogout_everywhere()

    async def wait(self, moment: Callable[[], None]) -> None:
        await asyncio.to_thread(moment)


def own(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what Django's authentication keeps there."""
    return {name: value for name, value in fields.items() if not name.startswith("_auth_user")}


def guest(name: str) -> Any:
    """A user whom no database knows: what is tested here is the session of one."""
    from django.contrib.auth.models import User

    found = User(pk=int.from_bytes(name.encode()), username=name, password="-")
    found.save = lambda *_, **__: None
    found.asave = _nothing
    found.backend = "tests.guarantees.django_project.Guests"
    return found


def name_of(primary_key: str | None) -> str | None:
    """The name that `guest` has made a primary key of."""
    return None if primary_key is None else int(primary_key).to_bytes(30).lstrip(b"\0").decode()


async def _nothing(*_: Any, **__: Any) -> None: ...
