"""A short journey of a few users on real servers; `make adoption` sends 1,000 through every source."""

from __future__ import annotations

import pytest

from tests.adoption.journey import DEPLOYMENTS, ONE_WAY, serving, travel
from zdd_sdk.store.engine import start_engine


@pytest.fixture(scope="module")
def legacy_engine():
    with start_engine("real") as engine:
        yield engine


@pytest.mark.parametrize("source", ["starlette cookie", "flask redis", "django db", "django signed_cookies async"])
def test_nobody_loses_anything_and_one_way_does(source, real_engine, legacy_engine, tmp_path):
    legacy_engine.recover()
    with serving(source, tmp_path, real_engine.url, legacy_engine.url) as ports:
        losses = travel(ports, DEPLOYMENTS, users=6, requests=1)
        control = travel(ports, ONE_WAY, users=12, requests=2)
    assert losses.requests > 6 * len(DEPLOYMENTS) / 2
    assert not losses.any, losses
    assert control.any
