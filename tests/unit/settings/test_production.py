"""What says that this is production."""

from __future__ import annotations

import pytest

from zdd_sdk.settings import production_marker


@pytest.mark.parametrize("name", ["development", "dev", "test", "testing", "local", "ci", "Dev"])
def test_development_has_no_production_marker(name: str) -> None:
    assert production_marker(name, {"KUBERNETES_SERVICE_HOST": ""}) is None


@pytest.mark.parametrize(
    ("environment", "environ", "marker"),
    [
        ("production", {}, "environment=production"),
        ("staging", {"DYNO": "web.1"}, "environment=staging"),
        ("development", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "KUBERNETES_SERVICE_HOST"),
        ("development", {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2"}, "ECS_CONTAINER_METADATA_URI_V4"),
        ("dev", {"DYNO": "web.1"}, "DYNO"),
    ],
)
def test_production_is_recognised(environment: str, environ: dict[str, str], marker: str) -> None:
    assert marker == production_marker(environment, environ)
