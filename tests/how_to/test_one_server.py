"""``deploy.sh`` of the page about one server, run as it is: nginx in front, the shop behind, customers in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.how_to.files import FILES, nginx
from tests.rehearsal.harness import Silent, nothing_left
from zdd_sdk.rehearsal.model import Plan, ReleasePlan
from zdd_sdk.rehearsal.processes import free_port
from zdd_sdk.rehearsal.recorder import Recorder
from zdd_sdk.rehearsal.routers import KubeRouter
from zdd_sdk.rehearsal.routers.base import Backend
from zdd_sdk.rehearsal.routers.nginx import find_nginx
from zdd_sdk.rehearsal.scenario import load_scenario
from zdd_sdk.rehearsal.traffic import Traffic
from zdd_sdk.store.engine import start_engine

NGINX = find_nginx()
NEEDED = [NGINX, *map(shutil.which, ("curl", "flock", "setsid"))]
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(None in NEEDED, reason="needs nginx, curl and util-linux"),
]
EXAMPLES = Path("docs/examples").resolve()
INTEGRATIONS = os.pathsep.join((str(Path.cwd()), str(Path("integrations").resolve())))


@dataclass(frozen=True)
class Site:
    """A server with two releases in a directory, and nginx on a port.

    Attributes:
        shop: what ``$SHOP`` is.
        port: where nginx listens.
        environ: of the deploy script, over ours.
    """

    shop: Path
    port: int
    environ: dict[str, str]

    async def deploy(self, release: str) -> tuple[int, str]:
        """Run the script; its exit status and what it said."""
        process = await asyncio.create_subprocess_exec(
            str(FILES / "one-server/deploy.sh"),
            release,
            env={**os.environ, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    def change(self, lines: str) -> None:
        """Append to shop.env: what is said last, holds."""
        with (self.shop / "shop.env").open("a", encoding="utf-8") as file:
            file.write(lines)

    def release(self) -> str:
        """Which release answers; empty if none does."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/", timeout=10)
        return str(answer.json()["release"]) if answer.status_code == 200 else ""

    def wait_for(self, release: str) -> None:
        """Return when a release answers."""
        for _ in range(200):
            if self.release() == release:
                return
            time.sleep(0.05)
        pytest.fail(f"release {release} does not answer")

    def stop(self) -> None:
        """Kill the services the script has started."""
        for file in (self.shop / "run").glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def settings(redis_url: str, ports: tuple[int, int], configuration: Path, directory: Path) -> str:
    """What the page's shop.env becomes here; the script reads it last, so it wins."""
    return (FILES / "one-server/shop.env").read_text("utf-8") + (
        f'BLUE={ports[0]}\nGREEN={ports[1]}\nNGINX="{NGINX} -c {configuration}"\n'
        f'SERVE="uvicorn shop_fastapi.app:app --app-dir {EXAMPLES} --host 127.0.0.1 --log-level warning"\n'
        f"ZDD_REDIS_URL={redis_url}\nZDD_LIFECYCLE_DRAIN_LAG=1s\nZDD_LIFECYCLE_LINGER=500ms\n"
        f"SHOP_DB={directory / 'shop.db'}\nPYTHONPATH={INTEGRATIONS}\n"
    )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A server on which nothing runs yet but nginx and Redis."""
    taken: set[int] = set()
    front, *ports = (free_port(taken) for _ in range(3))
    shop = tmp_path / "srv"
    for release in ("1", "2"):
        (shop / "releases" / release).mkdir(parents=True)
        (shop / "releases" / release / ".venv").symlink_to(sys.prefix)
    (shop / "run").mkdir()
    (shop / "run/upstream.conf").write_text("server 127.0.0.1:9 down;", "utf-8")
    configuration = nginx("one-server/nginx.conf", tmp_path, shop=shop, port=front)
    with nothing_left(str(tmp_path)), start_engine() as engine:
        environ = settings(engine.url, (ports[0], ports[1]), configuration, tmp_path)
        (shop / "shop.env").write_text(environ, "utf-8")
        proxy = subprocess.Popen([str(NGINX), "-c", str(configuration), "-g", "daemon off;"])
        made = Site(shop, front, {"SHOP": str(shop)})
        try:
            yield made
        finally:
            made.stop()
            proxy.terminate()
            proxy.wait(20)


async def visited(site: Site, work: Callable[[], Awaitable[None]]) -> Recorder:
    """Let customers visit while something is done; each connects anew, as nginx closes idle clients at a reload."""
    release = {side: ReleasePlan(side=side, label=side, command="") for side in ("old", "new")}
    plan = Plan(strategy="blue-green", scenario=str(EXAMPLES / "shop/scenario.py"), users=10, think=0.1, **release)
    recorder, router = Recorder(Silent()), KubeRouter(nodes=1, lag=0.0, seed=1)
    router.lifetime = 1
    await router.start([Backend("nginx", port=site.port)])
    traffic = Traffic(plan, load_scenario(plan.scenario), router, recorder)
    async with asyncio.TaskGroup() as group:
        users = group.create_task(traffic.run())
        await asyncio.sleep(1)
        await work()
        await asyncio.sleep(1)
        traffic.stop()
        await users
    return recorder


async def first_release(site: Site) -> None:
    """Let release 1 serve; nginx takes a moment to read its configuration again."""
    assert (await site.deploy("1"))[0] == 0
    await asyncio.to_thread(site.wait_for, "1")


def test_nobody_notices_a_deployment_and_its_rollback(site: Site) -> None:
    async def forward_and_back() -> None:
        for release in ("2", "1"):
            code, said = await site.deploy(release)
            assert (code, f"{release} serves on port" in said, "is free" in said) == (0, True, True), said
            assert await asyncio.to_thread(site.release) == release

    async def play() -> Recorder:
        await first_release(site)
        return await visited(site, forward_and_back)

    found = asyncio.run(play())
    assert [sample for sample in found.samples if sample.failed] == []
    assert found.violations == []
    assert len(found.samples) > 100


def test_control_without_the_switch_requests_fail(site: Site) -> None:
    async def forward() -> None:
        site.change("NGINX=true\n")
        assert (await site.deploy("2"))[0] == 0

    async def play() -> Recorder:
        await first_release(site)
        return await visited(site, forward)

    assert "status-5xx" in {sample.failure for sample in asyncio.run(play()).samples}


def test_a_release_that_does_not_start_changes_nothing(site: Site) -> None:
    async def play() -> None:
        await first_release(site)
        code, said = await site.deploy("3")
        assert (code, "there is no" in said) == (1, True)
        site.change("SERVE='uvicorn missing:app'\n")
        code, said = await site.deploy("2")
        assert (code, "2 did not become ready" in said) == (1, True)
        assert await asyncio.to_thread(site.release) == "1"

    asyncio.run(play())
