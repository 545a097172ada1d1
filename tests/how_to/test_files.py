"""Every file of the how-to pages is what its platform accepts, and its times add up."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from tests.how_to.files import FILES, compose, env_file, manifest, nginx, unit
from zdd_sdk.lifecycle.model import grace_finding, keep_alive_finding
from zdd_sdk.rehearsal.routers.nginx import find_nginx
from zdd_sdk.settings import LifecycleSettings, load_settings
from zdd_sdk.settings.units import parse_duration

SCRIPTS = sorted(FILES.rglob("*.sh"))


def read(path: str) -> str:
    return (FILES / path).read_text("utf-8")


def kubernetes_times() -> tuple[float, dict[str, str], str]:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    return pod["terminationGracePeriodSeconds"], environ, " ".join(container["command"])


def compose_times() -> tuple[float, dict[str, str], str]:
    shop = compose()["services"]["shop-a"]
    return parse_duration(shop["stop_grace_period"]), shop["environment"], " ".join(shop["command"])


def systemd_times() -> tuple[float, dict[str, str], str]:
    found = unit(read("systemd/shop@.service"))
    return float(found["TimeoutStopSec"]), env_file(read("systemd/shop.env")), found["ExecStart"]


def script_times() -> tuple[float, dict[str, str], str]:
    found = env_file(read("one-server/shop.env"))
    return float(found["GRACE_SECONDS"]), found, found["SERVE"]


TIMES = {"kubernetes": kubernetes_times, "compose": compose_times, "systemd": systemd_times, "script": script_times}


def lifecycle(environ: dict[str, str]) -> LifecycleSettings:
    kept = {name: value for name, value in environ.items() if name.startswith("ZDD_LIFECYCLE_")}
    return load_settings(environ=kept, directory=FILES).values.lifecycle


@pytest.mark.parametrize("platform", TIMES)
def test_the_drain_fits_into_what_the_platform_gives(platform: str) -> None:
    given, environ, _ = TIMES[platform]()
    settings = lifecycle(environ)
    assert settings.grace_period == given, "the service is told what it has"
    assert grace_finding(settings) is None


@pytest.mark.parametrize("platform", TIMES)
def test_the_server_keeps_connections_longer_than_the_proxy(platform: str) -> None:
    _, environ, command = TIMES[platform]()
    (seconds,) = re.findall(r"--timeout-keep-alive (\d+)", command)
    idle = lifecycle(environ).proxy_idle_timeout or 60.0
    assert keep_alive_finding(float(seconds), idle) is None


def test_control_a_shorter_grace_period_is_found() -> None:
    given, environ, _ = TIMES["kubernetes"]()
    assert grace_finding(msgspec.structs.replace(lifecycle(environ), grace_period=given - 5)) is not None


def test_kubernetes_accepts_the_manifest() -> None:
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        kubernetes_validate.validate(manifest(kind), "1.33", strict=True)


def test_control_kubernetes_refuses_a_wrong_manifest() -> None:
    wrong = manifest("Deployment")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_kubernetes_sends_to_the_pods_and_never_has_one_too_few() -> None:
    deployment, service, budget = (manifest(kind) for kind in ("Deployment", "Service", "PodDisruptionBudget"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"])
    assert [*selectors, budget["spec"]["selector"]["matchLabels"]] == [labels] * 3
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "lifecycle" not in container, "a preStop sleep would eat the grace period"
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_compose_accepts_its_file() -> None:
    done = check_compose(FILES / "compose/compose.yaml")
    assert done.returncode == 0, done.stdout


def test_control_compose_refuses_a_wrong_file(tmp_path: Path) -> None:
    wrong = compose()
    wrong["services"]["shop-a"]["stop_grace"] = "30s"
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(wrong), "utf-8")
    assert check_compose(tmp_path / "compose.yaml").returncode == 1


def test_nginx_of_compose_sends_to_where_the_instances_are() -> None:
    services = compose()["services"]
    places = [services[name]["networks"]["default"]["ipv4_address"] for name in ("shop-a", "shop-b")]
    assert re.findall(r"server ([\d.]+):8000 max_fails=0;", read("compose/nginx.conf")) == places


def test_redis_of_compose_does_not_evict() -> None:
    command = compose()["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


@pytest.mark.parametrize("name", ["one-server", "systemd", "compose"])
def test_nginx_accepts_its_configuration(tmp_path: Path, name: str) -> None:
    program = find_nginx()
    if program is None:
        pytest.skip("no nginx on this machine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/upstream.conf").write_text("server 127.0.0.1:8001;", "utf-8")
    whole = nginx(f"{name}/nginx.conf", tmp_path, shop=tmp_path, port=8080)
    done = subprocess.run([program, "-t", "-c", str(whole)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_systemd_accepts_its_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    text = read("systemd/shop@.service")
    ours = re.sub(r"(?<=ExecStart=)\S+", sys.executable, text)
    words = [program, "verify", str(tmp_path / "shop@8001.service")]
    for changed, accepted in ((ours, True), (ours.replace("KillMode=mixed", "KilMode=mixed"), False)):
        (tmp_path / "shop@8001.service").write_text(changed, "utf-8")
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        complaints = [line for line in done.stderr.splitlines() if "shop@8001.service" in line]
        assert (complaints == []) == accepted, done.stderr


def test_systemd_ends_the_master_first_and_reads_the_files_that_exist() -> None:
    text = read("systemd/shop@.service")
    assert unit(text)["KillMode"] == "mixed"
    assert re.findall(r"EnvironmentFile=/srv/shop/(\S+)", text) == ["shop.env", "release.env"]
    assert ">release.env" in read("systemd/deploy.sh")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_shell_can_read_the_script(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], check=False, timeout=10).returncode == 0
    assert script.stat().st_mode & 0o100, "it can be called"


def test_gunicorn_s_configuration_makes_it_drain() -> None:
    assert configuration().on_starting is importlib.import_module("zdd_sdk.lifecycle.servers.gunicorn").on_starting
    assert keep_alive_finding(configuration().keepalive, 60.0) is None


def configuration() -> Any:
    path = FILES / "gunicorn/gunicorn.conf.py"
    spec = importlib.util.spec_from_file_location("gunicorn_configuration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
