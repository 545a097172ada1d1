"""Users on their way through the deployments of an adoption: real servers, one per release, and what was lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from tests.servers.start import free_port

ROOT = Path(__file__).parents[2]
RELEASES = ("none", "mirror", "lead", "final")
SOURCES = {
    "starlette cookie": ("starlette", "cookie"),
    "flask cookie": ("flask", "cookie"),
    "flask redis": ("flask", "redis"),
    "flask cachelib": ("flask", "cachelib"),
    "django db": ("django", "db"),
    "django cache": ("django", "cache"),
    "django cached_db": ("django", "cached_db"),
    "django signed_cookies": ("django", "signed_cookies"),
    "django db async": ("django async", "db"),
    "django signed_cookies async": ("django async", "signed_cookies"),
}
"""Every framework and place of its sessions."""

DEPLOYMENTS: tuple[tuple[str, ...], ...] = (
    ("none",),
    ("none", "mirror"), ("none",), ("none", "mirror"), ("mirror",),  # rolled back once
    ("mirror", "lead"), ("mirror",), ("mirror", "lead"), ("lead",),
    ("lead", "final"), ("lead",), ("lead", "final"), ("final",),
    ("lead", "final"), ("lead",), ("mirror", "lead"), ("mirror",), ("none", "mirror"), ("none",),  # and the way out
)  # fmt: skip
"""Which releases serve at the same time, one deployment after the other."""

ONE_WAY: tuple[tuple[str, ...], ...] = (("none",), ("none", "final"), ("none",), ("none", "final"))
"""The control: taken over on first read, beside instances that know nothing of it, and rolled back."""

FIELDS = ("cart", "theme", "note")


@dataclass
class Losses:
    """What users have lost."""

    requests: int = 0
    failed: int = 0
    logouts: int = 0
    fields: int = 0
    undone: int = 0

    def add(self, other: Losses) -> None:
        """Add another user's."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def any(self) -> bool:
        """Whether anything was lost."""
        return bool(self.failed or self.logouts or self.fields or self.undone)


@dataclass
class User:
    """One user with one browser."""

    number: int
    seed: int
    cookies: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    met: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}/{self.number}")

    def act(self, ports: Sequence[int], *, parallel: bool) -> None:
        """Send one request, or two at once, to instances that a router picked."""
        # two first requests at once begin two sessions, or take one over twice: there is nothing yet to meet in
        if parallel and self.met and self.expected and self.random.random() < 0.2:
            names = self.random.sample(FIELDS, 2)
            changes = [{name: self._value()} for name in names]
            paths = [f"/put/{name}/{value}" for change in changes for name, value in change.items()]
            answers = _ask([(self.random.choice(ports), path) for path in paths], self.cookies)
            self.expected |= changes[0] | changes[1]
            for answer in self.random.sample(answers, 2):
                self._take(answer)
            self.look(ports)
            return
        self.met = parallel
        path = self._choose()
        (answer,) = _ask([(self.random.choice(ports), path)], self.cookies)
        self._take(answer)
        self._compare(answer[1])

    def look(self, ports: Sequence[int]) -> None:
        """Look at everything once."""
        (answer,) = _ask([(self.random.choice(ports), "/me")], self.cookies)
        self._take(answer)
        self._compare(answer[1])

    def _choose(self) -> str:
        dice = self.random.random()
        if "user" not in self.expected and dice < 0.5:
            self.expected["user"] = f"user{self.number}"
            return f"/login/user{self.number}"
        if dice < 0.06:
            self.expected = {}
            return "/logout"
        if dice < 0.5:
            name, value = self.random.choice(FIELDS), self._value()
            self.expected[name] = value
            return f"/put/{name}/{value}"
        return "/me"

    def _value(self) -> str:
        return str(self.random.randrange(4))

    def _take(self, answer: tuple[int, dict[str, Any], list[str]]) -> None:
        self.losses.requests += 1
        self.losses.failed += answer[0] != http.HTTPStatus.OK
        for line in answer[2]:
            for name, morsel in SimpleCookie(line).items():
                if morsel.value in {"", "null"} or morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.coded_value

    def _compare(self, shown: dict[str, Any]) -> None:
        expected, losses = self.expected, self.losses
        losses.logouts += "user" in expected and shown.get("user") != expected["user"]
        losses.undone += "user" not in expected and "user" in shown
        losses.fields += sum(shown.get(name) != expected.get(name) for name in FIELDS)
        self.expected = {name: str(value) for name, value in shown.items()}


def _ask(requests: Sequence[tuple[int, str]], cookies: dict[str, str]) -> list[tuple[int, dict[str, Any], list[str]]]:
    """Send all, then read all: the servers work on them at the same time."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    sent = []
    for port, path in requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers={"Cookie": header} if header else {})
        sent.append(connection)
    return [_read(connection) for connection in sent]


def _read(connection: http.client.HTTPConnection) -> tuple[int, dict[str, Any], list[str]]:
    with contextlib.closing(connection):
        response = connection.getresponse()
        body = response.read()
        shown = json.loads(body) if response.status == http.HTTPStatus.OK else {}
        return response.status, shown, response.headers.get_all("set-cookie") or []


@contextlib.contextmanager
def serving(
    source: str, directory: Path, redis_url: str, legacy_url: str, releases: Sequence[str] = RELEASES
) -> Iterator[dict[str, int]]:
    """Run one server per release until the block ends; yields their ports."""
    framework, place = SOURCES[source]
    environ = {
        **os.environ, "ADOPT_SOURCE": place, "ADOPT_DIRECTORY": str(directory), "ADOPT_LEGACY_URL": legacy_url,
        "ZDD_REDIS_URL": redis_url, "ZDD_FLEET_ENABLED": "false", "PYTHONWARNINGS": "ignore",
        "ZDD_STORE_OPERATION_TIMEOUT": "10s", "ZDD_STORE_TOTAL_TIMEOUT": "20s", "ZDD_STORE_CONNECT_TIMEOUT": "10s",
        "ADOPT_ASYNC": "1" if "async" in framework else "0",
    }  # fmt: skip
    if "django" in framework:
        subprocess.run([sys.executable, "-m", "tests.adoption.apps.django_app"], cwd=ROOT, env=environ, check=True)
    ports = {release: free_port() for release in releases}
    log = (directory / "servers.log").open("a")
    processes = [
        subprocess.Popen(
            _command(framework, port), cwd=ROOT, env={**environ, "ADOPT_STEP": release}, stdout=log, stderr=log
        )
        for release, port in ports.items()
    ]
    try:
        for port in ports.values():
            _wait(port)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


def _command(framework: str, port: int) -> list[str]:
    module = f"tests.adoption.apps.{framework.split(maxsplit=1)[0]}_app"
    if framework in {"flask", "django"}:
        options = ["-k", "gthread", "--threads", "8", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
        return [sys.executable, "-m", "gunicorn", *options, f"{module}:wsgi"]
    return [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "error", f"{module}:app"]


def _wait(port: int) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            _ask([(port, "/me")], {})
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def travel(
    ports: dict[str, int],
    deployments: Sequence[Sequence[str]] = DEPLOYMENTS,
    *,
    users: int,
    requests: int,
    seed: int = 1,
    threads: int = 8,
) -> Losses:
    """Let users live through deployments, each sending so many requests in each of them; returns what they lost."""
    travellers = [User(number, seed) for number in range(users)]

    def live(user: User, serving_now: Sequence[str]) -> None:
        here = [ports[release] for release in serving_now]
        for _ in range(requests):
            # whoever was not there during a deployment is the harder case
            if user.random.random() < 0.7 or len(serving_now) == 1:
                user.act(here, parallel="none" not in serving_now)
        if serving_now == ("mirror",):
            user.look(here)  # before the SDK is taken out: what `zdd uninstall --check` waits for

    with ThreadPoolExecutor(threads) as pool:
        for serving_now in deployments:
            list(pool.map(live, travellers, [serving_now] * users))
    total = Losses()
    for user in travellers:
        total.add(user.losses)
    return total
