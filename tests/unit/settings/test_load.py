"""Where an option's value comes from, and what bad input does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zdd_sdk.errors import SettingsError
from zdd_sdk.settings import SessionSettings, leaves, load_settings


def load(tmp_path: Path, arguments: dict[str, Any] | None = None, **environ: str) -> Any:
    return load_settings(arguments, environ=environ, directory=tmp_path)


def test_arguments_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "zdd.toml").write_text(
        'service = "file"\nenvironment = "file"\n[fleet]\npulse = "3s"\n[sessions]\nidle_timeout = "1h"\n'
    )

    loaded = load(tmp_path, {"service": "argument"}, ZDD_SERVICE="env", ZDD_ENVIRONMENT="env", ZDD_FLEET_PULSE="4s")

    values, origins = loaded.values, loaded.origins
    assert ("argument", "argument") == (values.service, origins["service"])
    assert ("env", "ZDD_ENVIRONMENT") == (values.environment, origins["environment"])
    assert (4.0, "ZDD_FLEET_PULSE") == (values.fleet.pulse, origins["fleet.pulse"])
    assert (3600.0, "zdd.toml") == (values.sessions.idle_timeout, origins["sessions.idle_timeout"])
    assert (10.0, "default") == (values.fleet.ttl, origins["fleet.ttl"])


def test_pyproject_is_read_where_there_is_no_zdd_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.zdd]\nservice = "shop"\n')

    assert "shop" == load(tmp_path).values.service


def test_a_part_may_be_a_table_or_a_struct(tmp_path: Path) -> None:
    table = load(tmp_path, {"sessions": {"idle_timeout": "1h"}}).values.sessions
    struct = load(tmp_path, {"sessions": SessionSettings(idle_timeout=3600.0)}).values.sessions

    assert table == struct


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sessions": {"idle_timout": "1h"}}, "did you mean sessions.idle_timeout"),
        ({"sesions": {"idle_timeout": "1h"}}, "did you mean sessions[?]"),
        ({"colour": "red"}, "colour"),
        ({"sessions.idle_timeout": "soon"}, "sessions.idle_timeout"),
        ({"sessions.on_unavailable": "panic"}, "sessions.on_unavailable"),
        ({"store.pool_size": "many"}, "store.pool_size"),
        ({"fleet.enabled": "perhaps"}, "fleet.enabled"),
        ({"service": "a b"}, "service"),
        ({"service": "x" * 65}, "service"),
        ({"environment": "{tag}"}, "environment"),
        ({"sessions.max_field": 1.5}, "sessions.max_field"),
    ],
)
def test_bad_arguments_are_refused_by_name(tmp_path: Path, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(tmp_path, arguments)


def test_a_secret_value_is_never_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {"store.redis_url": ["hunter2"]})

    assert "hunter2" not in str(caught.value)


def test_what_only_the_next_release_knows_warns_and_boots(tmp_path: Path) -> None:
    (tmp_path / "zdd.toml").write_text('[cache]\nttl = "1h"\n')

    with pytest.warns(UserWarning, match="cache"):
        loaded = load(tmp_path)
    with pytest.warns(UserWarning, match="ZDD_WARP_SPEED"):
        load(Path("/nonexistent"), ZDD_WARP_SPEED="9")

    assert "app" == loaded.values.service


def test_an_unreadable_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "zdd.toml").write_text("service = ")

    with pytest.raises(SettingsError, match=r"zdd\.toml"):
        load(tmp_path)
    with pytest.raises(SettingsError, match="gone"):
        load(tmp_path, ZDD_CONFIG=str(tmp_path / "gone.toml"))


def test_lists_come_comma_separated(tmp_path: Path) -> None:
    assert ("a" * 32, "b" * 32) == load(tmp_path, ZDD_SECRET=f"{'a' * 32}, {'b' * 32}").values.secret


def test_the_fingerprint_tells_configurations_apart_but_holds_no_secret(tmp_path: Path) -> None:
    plain = load(tmp_path)

    assert plain.fingerprint() == load(tmp_path).fingerprint()
    assert plain.fingerprint() != load(tmp_path, {"fleet.pulse": "3s"}).fingerprint()
    assert load(tmp_path, {"secret": "x" * 32}).fingerprint() == load(tmp_path, {"secret": "y" * 32}).fingerprint()


def test_two_instances_and_two_releases_of_one_configuration_have_one_fingerprint(tmp_path: Path) -> None:
    first, second = (load(tmp_path, ZDD_INSTANCE=f"web-{each}", ZDD_RELEASE_VERSION=f"1.{each}") for each in (1, 2))
    assert first.values.release.version != second.values.release.version
    assert first.fingerprint() == second.fingerprint()


def test_every_option_has_a_sentence_and_its_own_variable() -> None:
    assert all(leaf.option.doc.endswith(".") for leaf in leaves())
    assert len(leaves()) == len({leaf.env for leaf in leaves()})
