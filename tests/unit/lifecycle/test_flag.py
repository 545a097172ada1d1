"""The instance's directory and its flag."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from zdd_sdk.errors import LifecycleError
from zdd_sdk.lifecycle import InstanceDirectory, find_instances, instance_root, search_roots
from zdd_sdk.settings import LifecycleSettings, load_settings


def test_default_root_is_private_to_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = instance_root(LifecycleSettings(), "shop", "production")
    assert root == tmp_path / f"zdd-{os.geteuid()}" / "shop-production"
    InstanceDirectory(root, "web-1").join()
    assert {oct(path.stat().st_mode & 0o777) for path in (root.parent, root, root / "web-1")} == {"0o700"}
    assert oct((root / "web-1" / f"worker-{os.getpid()}").stat().st_mode & 0o777) == "0o600"


def test_flag_up_and_down(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    assert directory.reason() is None
    directory.join()
    assert directory.reason() is None
    directory.ask_to_drain("zdd drain")
    assert directory.reason() == "zdd drain"
    directory.clear()
    assert directory.reason() is None
    directory.leave()
    assert not directory.path.exists()


def test_an_empty_flag_made_with_touch_counts_and_a_link_does_not(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    directory.join()
    (directory.path / "drain").touch()
    assert directory.reason() == "drain flag"
    directory.clear()
    (tmp_path / "target").write_text("x")
    (directory.path / "drain").symlink_to(tmp_path / "target")
    assert directory.reason() is None
    directory.ask_to_drain("y")
    assert directory.reason() == "y"
    assert (tmp_path / "target").read_text() == "x"


def test_joining_clears_the_flag_only_if_nobody_lives(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    directory.join()
    directory.ask_to_drain("x")
    directory.join()
    assert directory.reason() == "x"
    (directory.path / f"worker-{os.getpid()}").write_text("0")
    directory.join()
    assert directory.reason() is None


def test_a_reused_process_id_is_not_taken_for_the_dead_worker(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    directory.join()
    assert directory.workers() == (os.getpid(),)
    (directory.path / f"worker-{os.getpid()}").write_text("1234")
    assert directory.workers() == ()


def test_a_zombie_is_dead(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    directory.join()
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (directory.path / f"worker-{child.pid}").write_text("1")
    assert directory.workers() == (os.getpid(),)
    child.wait()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", ".", "", "web 1", "x" * 64])
def test_no_instance_name_leaves_the_run_directory(tmp_path: Path, name: str) -> None:
    assert InstanceDirectory(tmp_path / "run", name).path.parent == tmp_path / "run"
    InstanceDirectory(tmp_path / "run", name).join()
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_links_and_what_others_can_write_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(LifecycleError, match="symbolic link"):
        InstanceDirectory(tmp_path / "link", "web-1").join()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(LifecycleError, match="written by others"):
        InstanceDirectory(tmp_path / "open", "web-1").join()
    (tmp_path / "file").touch()
    with pytest.raises((LifecycleError, OSError)):
        InstanceDirectory(tmp_path / "file", "web-1").join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a foreign directory")
def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "run"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    with pytest.raises(LifecycleError, match="belongs to user 12345"):
        InstanceDirectory(foreign, "web-1").join()


def test_find_yields_the_living_and_sweeps_the_dead(tmp_path: Path) -> None:
    alive, dead = InstanceDirectory(tmp_path, "alive"), InstanceDirectory(tmp_path, "dead")
    for directory in (alive, dead):
        directory.join()
    (dead.path / f"worker-{os.getpid()}").write_text("0")
    (dead.path / "drain").touch()
    (tmp_path / "a-file").touch()
    assert [found.instance for found in find_instances([tmp_path, tmp_path / "missing"])] == ["alive"]
    assert not dead.path.exists()
    assert (tmp_path / "a-file").exists()


def test_sweeping_leaves_foreign_files_alone(tmp_path: Path) -> None:
    directory = InstanceDirectory(tmp_path, "web-1")
    directory.join()
    (directory.path / "precious").touch()
    directory.leave()
    assert (directory.path / "precious").exists()


def test_joining_and_sweeping_at_once_always_ends_with_a_record(tmp_path: Path) -> None:
    ending = threading.Event()

    def sweep() -> None:
        while not ending.is_set():
            list(find_instances([tmp_path]))

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(200):
            directory = InstanceDirectory(tmp_path, f"web-{number}")
            directory.join()
            assert directory.workers() == (os.getpid(),)
            directory.leave()
    finally:
        ending.set()
        sweeper.join()


def test_where_to_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / f"zdd-{os.geteuid()}"
    assert search_roots(load_settings({}, environ={}, directory=tmp_path)) == []
    for service in ("cart-production", "shop-production"):
        InstanceDirectory(mine / service, "web-1").join()
    assert search_roots(load_settings({}, environ={}, directory=tmp_path)) == [
        mine / "cart-production", mine / "shop-production",
    ]  # fmt: skip
    environ = {"ZDD_SERVICE": "shop", "ZDD_ENVIRONMENT": "production"}
    assert search_roots(load_settings({}, environ=environ, directory=tmp_path)) == [mine / "shop-production"]
    environ = {"ZDD_LIFECYCLE_RUN_DIR": "/run/shop"}
    assert search_roots(load_settings({}, environ=environ, directory=tmp_path)) == [Path("/run/shop")]
