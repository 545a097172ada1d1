"""One user, several devices: listed, ended from elsewhere, and given new keys while they are used."""

from __future__ import annotations

import pytest

from zdd_django import get_zdd, zdd
from zdd_django.sessions import SessionStore
from zdd_sdk.sessions.ids import parse_id
from zdd_sdk.store.wire import Wire

COOKIE = "sessionid"


def log_in(browser, agent):
    device = browser.another()
    device.client.cookies.clear()
    header = {"user-agent": agent}
    assert device.post("log_in?user=ada", headers=header).status_code == 200
    return device


def user(browser):
    return browser.get("whoami").json()["user"]


def test_devices_are_listed_and_logged_out_from_anywhere(browser, ada, tap):
    phone, desk = log_in(browser, "Phone"), log_in(browser, "Desk")
    tap.reset()
    assert {device.label for device in zdd.sessions.devices(str(ada.pk))} == {"Phone", "Desk"}
    assert tap.trips == 1
    (lost,) = [device for device in zdd.sessions.devices(str(ada.pk)) if device.label == "Phone"]
    assert zdd.sessions.logout_device(str(ada.pk), lost.handle)
    assert (user(phone), user(desk)) == ("", "ada")


def test_log_out_everywhere_but_here(browser, ada):
    phone, desk = log_in(browser, "Phone"), log_in(browser, "Desk")
    here = SessionStore(desk.cookies[COOKIE])
    zdd.sessions.logout_everywhere(str(ada.pk), keep=here)
    assert (user(phone), user(desk)) == ("", "ada")
    zdd.sessions.logout_everywhere(str(ada.pk))
    assert user(desk) == ""


def test_a_logout_takes_the_device_off_the_list(browser, ada):
    log_in(browser, "Phone").post("log_out")
    assert zdd.sessions.devices(str(ada.pk)) == ()


@pytest.fixture
def rotating(configured, browser, tap, monkeypatch, ada):
    """A device whose session rotates each hour, in a fleet that can follow."""
    configured(tap.url, sessions={"rotate_every": "1h"})
    monkeypatch.setattr(get_zdd().sessions, "_can_rotate", lambda: True)
    return log_in(browser, "Phone")


@pytest.fixture
def an_hour_passes(rotating, real_engine):
    """Make the session an hour older."""
    key = get_zdd().sessions.keeper.key(parse_id(rotating.cookies[COOKIE]))
    with Wire(real_engine.port) as wire:
        for field in ("_c", "_r"):
            if value := wire.ask("HGET", key, field):
                wire.ask("HSET", key, field, int(value) - 3_600_001)


@pytest.mark.parametrize("path", ["me", "put?name=a&value=1", "put_then_answer?status=500"])
def test_a_key_is_renewed_while_it_is_used(rotating, an_hour_passes, path):
    before, late = rotating.cookies[COOKIE], rotating.another()
    rotating.ask("get" if path == "me" else "post", path)
    assert rotating.cookies[COOKIE] != before
    assert user(rotating) == "ada"
    assert user(late) == "ada", "requests under way with the old one go on"
    assert late.post("put?name=late&value=1").status_code == 200
    assert "late" in rotating.get("me").json()["fields"]


def test_control_a_session_that_nobody_uses_keeps_its_key(rotating, an_hour_passes):
    before = rotating.cookies[COOKIE]
    rotating.get("plain")
    assert rotating.cookies[COOKIE] == before
