"""System checks, `manage.py zdd`, and the settings in ``ZDD``."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.http import HttpResponse

from zdd_django.checks import _cors
from zdd_django.middleware import ZddMiddleware
from zdd_sdk.errors import SettingsError
from zdd_sdk.idempotency.browser import READ

OURS = "zdd_django.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
ZDD = "zdd_django.middleware.ZddMiddleware"
OTHERS = [name for name in settings.MIDDLEWARE if not name.startswith("zdd_django")]


def found(*, deploy=False):
    return {message.id for message in run_checks(include_deployment_checks=deploy)}


def test_a_good_project_has_no_findings(configured):
    configured()
    assert not found()
    assert not {name for name in found(deploy=True) if name.startswith("zdd.")}


def test_the_admin_finds_its_session_middleware(configured):
    configured()
    assert "admin.E410" not in found()
    configured(_MIDDLEWARE=[ZDD, *OTHERS])
    assert "admin.E410" in found()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"no_such_option": 1}, "zdd.E001"),
        ({"sessions": {"login_grace": "1h"}}, "zdd.E001"),
        ({"_ZDD": ["service"]}, "zdd.E001"),
        ({"sessions": {"cookie_name": "shop"}}, "zdd.E002"),
        ({"_MIDDLEWARE": [OURS, *OTHERS]}, "zdd.E003"),
        ({"_MIDDLEWARE": [OURS, ZDD, *OTHERS]}, "zdd.E004"),
        ({"_MIDDLEWARE": [ZDD, OURS, DJANGOS, *OTHERS]}, "zdd.E005"),
        ({"_MIDDLEWARE": [ZDD, DJANGOS, *OTHERS]}, "zdd.E006"),
        ({"_SESSION_SERIALIZER": "tests.integrations.django.project.pickling.PickleSerializer"}, "zdd.E007"),
        ({"_SESSION_ENGINE": "django.contrib.sessions.backends.db"}, "zdd.W001"),
    ],
)
def test_what_would_lose_something_is_named(configured, changed, expected):
    refused = contextlib.nullcontext() if expected != "zdd.E001" else pytest.raises(SettingsError)
    with refused:
        configured(**changed)
    assert expected in found()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"environment": "production", "secret": ()}, "zdd.E008"),
        ({"environment": "production", "url": None}, "zdd.E008"),
        ({"mode": "stock"}, "zdd.E009"),
        ({"environment": "production"}, "zdd.W002"),
        ({"lifecycle": {"proxy_idle_timeout": "60s"}}, "zdd.W003"),
        ({"_SESSION_COOKIE_SECURE": False}, "zdd.W004"),
        ({"_SESSION_COOKIE_NAME": "shop"}, "zdd.W005"),
        ({"_SESSION_COOKIE_HTTPONLY": False}, "zdd.W006"),
        ({"_SESSION_COOKIE_SAMESITE": "None"}, "zdd.W007"),
        ({"_ASGI_APPLICATION": "a.b", "_DATABASES": {"default": {"CONN_MAX_AGE": 60}}}, "zdd.W008"),
    ],
)
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_a_deployment_is_looked_at_harder(configured, monkeypatch, changed, expected):
    monkeypatch.setenv("UVICORN_TIMEOUT_KEEP_ALIVE", "5")
    monkeypatch.delenv("ZDD_REDIS_URL", raising=False)
    configured(**changed)
    assert expected not in {message.id for message in run_checks()}
    from zdd_django import checks

    assert expected in {message.id for find in DEPLOYED for message in getattr(checks, find)()}


DEPLOYED = ("_production", "_cookie", "_connections")


def test_every_check_is_documented():
    import re
    from pathlib import Path

    modules = (Path("integrations/zdd_django") / name for name in ("checks.py", "brackets.py"))
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    page = Path("docs/django.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r'"(zdd\.[EW]\d+)"', source) if f"`{name}`" not in page] == []


# manage.py zdd


def zdd(capsys, *words):
    call_command("zdd", *words)
    return capsys.readouterr().out


def test_commands_know_what_the_settings_say(configured, capsys):
    configured(lifecycle={"drain_lag": "7s"}, _SESSION_COOKIE_AGE=900)
    shown = {row["option"]: row for row in json.loads(zdd(capsys, "explain", "--json"))["options"]}
    assert (shown["service"]["value"], shown["service"]["origin"]) == ("project", "argument")
    assert shown["lifecycle.drain_lag"]["value"] == "7s"
    assert shown["sessions.idle_timeout"]["value"] == "15m"


def test_the_doctor_sees_the_idempotent_views():
    """In a process of its own: here others have imported them."""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.integrations.django.project.settings"}
    command = [sys.executable, "-m", "django", "zdd", "doctor"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert "unsafe is unsafe" in said.stdout, said.stderr


def test_a_status_other_than_zero_ends_the_process(configured):
    configured()
    with pytest.raises(SystemExit) as ended:
        call_command("zdd", "drain", "--instance", "nobody", stdout=io.StringIO())
    assert ended.value.code == 1


def test_a_command_says_in_one_line_what_is_wrong_with_the_settings(configured):
    with contextlib.suppress(SettingsError):
        configured(sesions={})
    with pytest.raises(CommandError, match="did you mean sessions[?]") as refused:
        call_command("zdd", "doctor")
    assert refused.value.returncode == 2


def test_without_the_application_the_middleware_refuses_to_be_built(configured):
    configured(_INSTALLED_APPS=[name for name in settings.INSTALLED_APPS if name != "zdd_django"])
    with pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        ZddMiddleware(lambda _: HttpResponse())


CORS = "corsheaders.middleware.CorsMiddleware"


@pytest.mark.parametrize(
    ("options", "gap"),
    [
        ({}, "CORS_ALLOW_HEADERS lacks Idempotency-Key; CORS_EXPOSE_HEADERS lacks Idempotency-Key-Lifetime"),
        ({"_CORS_ALLOW_HEADERS": ["idempotency-key"]}, "CORS_EXPOSE_HEADERS lacks"),
        ({"_CORS_ALLOW_HEADERS": ["*"], "_CORS_EXPOSE_HEADERS": READ}, ""),
        ({"_MIDDLEWARE": []}, ""),
    ],
)
def test_cors_that_hides_what_a_client_needs_is_found(configured, options, gap):
    configured(**{"_MIDDLEWARE": [*settings.MIDDLEWARE, CORS], **options})
    found = [message.msg for message in _cors(wanted=True)]
    assert len(found) == bool(gap)
    assert not gap or gap in found[0]
    assert not list(_cors(wanted=False))
