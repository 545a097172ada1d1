"""A real nginx in front: passive, no health checks, kept-alive connections to the instances."""

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
from zdd_sdk.rehearsal.processes import free_port, kill_group, spawn, tail
from zdd_sdk.rehearsal.routers.base import Backend

__all__ = ["NginxRouter", "find_nginx", "write_config"]

_HEADER = "x-rehearsal-upstream"
_START = 5.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts it, and no user but root has it on PATH."""

_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream instances {{
{servers}
    keepalive 64;
  }}
  server {{
    listen 127.0.0.1:{port};
    # A reload closes idle client connections while requests are on their way to them (nginx < 1.27.4):
    # that would be nginx's loss, not the release's, so users of nginx come with a connection per request.
    keepalive_timeout 0;
    location / {{
      proxy_pass http://instances;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      add_header X-Rehearsal-Upstream $upstream_addr always;
    }}
  }}
}}
"""


class NginxRouter:
    """Users talk to nginx, which is reloaded when the endpoints change, as an ingress controller does.

    Args:
        directory: for its configuration and logs.
        lag: a reload follows a change after 0 to this many seconds.
        seed: of the delays.

    Raises:
        RehearsalError: there is no ``nginx`` on PATH.
    """

    def __init__(self, *, directory: Path, lag: float, seed: int, taken: set[int]) -> None:
        program = find_nginx()
        if program is None:
            message = "the router nginx needs the program nginx on PATH"
            raise RehearsalError(message)
        self._program, self._directory, self._lag = program, directory.resolve(), lag
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
        log = self._directory / "nginx-output.log"
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
        self._known.update((backend.port, backend) for backend in backends)
        path = self._directory / "nginx.conf"
        path.with_suffix(".new").write_text(write_config(backends, self._directory, self._port), "utf-8")
        path.with_suffix(".new").replace(path)


def find_nginx() -> str | None:
    """Return the path of the nginx on ``PATH``, or of one where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path=_SBIN)


def write_config(backends: Sequence[Backend], directory: Path, port: int) -> str:
    """The configuration file for these backends; weights are rounded to whole numbers of a thousand."""
    heaviest = max((backend.weight for backend in backends), default=1.0)
    servers = [
        f"    server {backend.host}:{backend.port} weight={max(1, round(1000 * backend.weight / heaviest))};"
        for backend in backends
    ]
    # An upstream without servers is refused as a configuration; one that is down is what "nobody" means.
    text = "\n".join(servers or ["    server 127.0.0.1:9 down;"])
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.geteuid() == 0 else ""
    return _CONFIG.format(user=user, directory=directory, servers=text, port=port)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
