"""HAProxy's agent where the process has no file descriptor left: it waits instead of spinning, and answers later."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.start import free_port

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
import resource, sys, threading, time
from pathlib import Path
from zdd_sdk.lifecycle import agent

tries = []
ours = agent.Agent._answer_next

def counted(self, listener):
    tries.append(1)
    if "spin" not in sys.argv:
        ours(self, listener)
        return
    try:
        self._answer(listener.accept()[0])
    except OSError:
        pass

agent.Agent._answer_next = counted
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
agent.Agent(int(sys.argv[1]), Path(sys.argv[2]), lambda: b"up ready\\n", threading.Event()).start()
for line in sys.stdin:
    if line.strip() == "exhaust":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    elif line.strip() == "measure":
        tries.clear()
        time.sleep(1)
        print(len(tries), flush=True)
    elif line.strip() == "relieve":
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print("done", flush=True)
"""


class Process:
    """A process whose agent runs; told to have no descriptor left and to count how often it tries meanwhile."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, word: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        said: list[str] = []
        while (line := self._process.stdout.readline().strip()) != "done":
            assert line
            said.append(line)
        return said


@contextmanager
def agent(port: int, directory: Path, *words: str) -> Iterator[Process]:
    command = [sys.executable, "-c", PROGRAM, str(port), str(directory), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def said(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        return connection.recv(100)


def until_said(port: int) -> None:
    for _ in range(400):
        try:
            assert said(port) == b"up ready\n"
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("no agent")


@pytest.mark.parametrize("spins", [False, True], ids=["ours", "control"])
def test_without_a_descriptor_it_waits_and_answers_once_there_is_one(tmp_path: Path, spins: bool) -> None:
    port = free_port()
    with agent(port, tmp_path, *["spin"] * spins) as process:
        until_said(port)
        process.tell("exhaust")
        with socket.create_connection(("127.0.0.1", port), 20) as waiting:
            (tries,) = map(int, process.tell("measure"))
            assert (tries > 50) if spins else (tries < 10)
            process.tell("relieve")
            assert waiting.recv(100) == b"up ready\n"
