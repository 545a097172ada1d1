"""A real nginx in front: passive, no health checks."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from zdd_sdk.errors import RehearsalError
from zdd_sdk.rehearsal.client import RawResponse
from zdd_sdk.rehearsal.plan import NginxPlan
from zdd_sdk.rehearsal.processes import free_port, kill_group, spawn, tail
from zdd_sdk.rehearsal.routers.base import Backend

__all__ = ["NginxRouter", "StaticNginxRouter", "find_nginx", "write_config"]

_HEADER = "x-rehearsal-upstream"
_START = 5.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts it, and no user but root has it on PATH."""

_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream instances {{
{servers}
  }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_timeout {client_idle};
    location / {{
      proxy_pass http://instances;
      {upstream}
      proxy_set_header Host $http_host;
      add_header X-Rehearsal-Upstream $upstream_addr always;
    }}
  }}
}}
"""


_KEPT = 'proxy_http_version 1.1;\n      proxy_set_header Connection "";'
_UNKEPT = "proxy_http_version 1.0;\n      proxy_set_header Connection close;"
"""What nginx did by default until 1.29.7."""


class NginxRouter:
    """Users talk to nginx, which is reloaded when the endpoints change, as an ingress controller does.

    Args:
        directory: for its configuration and temporary files.
        logs: for its error log and its output; default the same.
        lag: a reload follows a change after 0 to this many seconds.
        seed: of the delays.
        taken: ports in use.
        options: how it treats the instances.

    Raises:
        RehearsalError: there is no ``nginx`` on PATH.
    """

    # A reload closes idle client connections while requests are on their way to them (nginx < 1.27.4):
    # that would be nginx's loss, not the release's, so its users come with a connection per request.
    _client_idle = 0

    def __init__(
        self,
        *,
        directory: Path,
        lag: float,
        seed: int,
        taken: set[int],
        logs: Path | None = None,
        options: NginxPlan = NginxPlan(),  # noqa: B008 — frozen
    ) -> None:
        program = find_nginx()
        if program is None:
            message = "the router nginx needs the program nginx on PATH"
            raise RehearsalError(message)
        self._program, self._directory, self._lag = program, directory.resolve(), lag
        self._logs = self._directory if logs is None else logs.resolve()
        self._options = options
        self._random = random.Random(f"nginx/{seed}")
        self._port = free_port(taken)
        self._process: subprocess.Popen[bytes] | None = None
        self._version = self._applied = 0
        self._known: dict[int, Backend] = {}
        self.lifetime = 0

    async def start(self, backends: Sequence[Backend]) -> None:
        """Start nginx with these and wait until it listens.

        Raises:
            RehearsalError: it did not start; with what it said.
        """
        self._write(backends)
        log = self._logs / "nginx.log"
        log.unlink(missing_ok=True)
        words = [self._program, "-p", str(self._directory), "-c", str(self._directory / "nginx.conf")]
        self._process = spawn(words, log=log, env=os.environ, cwd=self._directory)
        for _ in range(int(_START / 0.05)):
            await asyncio.sleep(0.05)
            if self._process.poll() is None and _listens(self._port):
                return
        message = f"nginx did not start:\n{tail(log)}"
        raise RehearsalError(message)

    def publish(self, backends: Sequence[Backend]) -> None:
        """Reload nginx with these after a delay; a later change overtakes an earlier one."""
        self._version += 1
        delay = self._random.uniform(0.0, self._lag)
        asyncio.get_running_loop().call_later(delay, self._reload, self._version, tuple(backends))

    def choose(self, user: int) -> Backend | None:  # noqa: ARG002 — nginx chooses
        """Nginx."""
        return Backend(port=self._port)

    def origin(self, raw: RawResponse, backend: Backend) -> Backend:
        """The instance nginx named; it lists every one it tried, the last answered or failed."""
        tried = ", ".join(raw.values(_HEADER)).split(",")[-1].strip()
        port = tried.rpartition(":")[2]
        found = self._known.get(int(port)) if port.isdigit() else None
        return backend if found is None else Backend(found.id, found.release, backend.host, backend.port)

    def stop(self) -> None:
        """Stop nginx at once."""
        if self._process is not None:
            kill_group(self._process)

    def _reload(self, version: int, backends: tuple[Backend, ...]) -> None:
        if version <= self._applied or self._process is None or self._process.poll() is not None:
            return
        self._applied = version
        self._write(backends)
        os.kill(self._process.pid, signal.SIGHUP)

    def _write(self, backends: Sequence[Backend]) -> None:
        self._know(backends)
        path = self._directory / "nginx.conf"
        text = write_config(backends, self._directory, self._port, options=self._options, client_idle=self._client_idle)
        path.with_suffix(".new").write_text(text, "utf-8")
        path.with_suffix(".new").replace(path)

    def _know(self, backends: Sequence[Backend]) -> None:
        self._known.update((backend.port, backend) for backend in backends)


class StaticNginxRouter(NginxRouter):
    """An nginx that nobody tells anything: its list of servers is the one it began with, and instances come and go.

    It learns of a stopped one as it does by default: a connection is refused or broken, the request goes to the next
    server if it may be sent again, and for ten seconds this one gets no more (``max_fails=1 fail_timeout=10s``).
    """

    _client_idle = 75

    def publish(self, backends: Sequence[Backend]) -> None:
        """Keep the servers as they are; remember which release now listens where."""
        self._know(backends)


def find_nginx() -> str | None:
    """Return the path of the nginx on ``PATH``, or of one where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path=_SBIN)


def write_config(
    backends: Sequence[Backend],
    directory: Path,
    port: int,
    *,
    options: NginxPlan = NginxPlan(),  # noqa: B008 — frozen
    client_idle: int = 0,
) -> str:
    """The configuration file for these backends; weights are rounded to whole numbers of a thousand.

    Args:
        backends: where requests go.
        directory: for everything nginx writes.
        port: where it listens.
        options: how the backends are treated.
        client_idle: seconds a client's connection is kept, 0 for a connection per request.
    """
    heaviest = max((backend.weight for backend in backends), default=1.0)
    servers = [
        f"    server {backend.host}:{backend.port} weight={max(1, round(1000 * backend.weight / heaviest))} "
        f"max_fails={options.max_fails};"
        for backend in backends
    ]
    # An upstream without servers is refused as a configuration; one that is down is what "nobody" means.
    servers = servers or ["    server 127.0.0.1:9 down;"]
    kept = [f"    keepalive {options.keepalive};"] if options.keepalive else []
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.geteuid() == 0 else ""
    return _CONFIG.format(
        user=user,
        directory=directory,
        servers="\n".join([*servers, *kept]),
        port=port,
        upstream=_KEPT if kept else _UNKEPT,
        client_idle=client_idle,
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
