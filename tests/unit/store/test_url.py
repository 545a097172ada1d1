"""Store URLs: every scheme, and nothing but SettingsError for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import SettingsError
from zdd_sdk.store.url import Address, Target, parse_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (None, Target("embedded")),
        ("embedded://", Target("embedded")),
        ("off", Target("off")),
        ("redis://h", Target("single", (Address("h", 6379),))),
        ("redis://h/", Target("single", (Address("h", 6379),))),
        ("redis://h:1234/5", Target("single", (Address("h", 1234),), db=5)),
        ("redis://h?db=5", Target("single", (Address("h", 6379),), db=5)),
        ("REDIS://h", Target("single", (Address("h", 6379),))),
        ("valkey://h", Target("single", (Address("h", 6379),))),
        ("rediss://h", Target("single", (Address("h", 6379),), tls=True)),
        ("valkeys://h", Target("single", (Address("h", 6379),), tls=True)),
        ("redis://[::1]:7000", Target("single", (Address("::1", 7000),))),
        ("redis://[::1]", Target("single", (Address("::1", 6379),))),
        ("redis://:s@h", Target("single", (Address("h", 6379),), password="s")),
        ("redis://u:s@h", Target("single", (Address("h", 6379),), username="u", password="s")),
        ("redis://u:p%40%2F%3A%25@h", Target("single", (Address("h", 6379),), username="u", password="p@/:%")),
        ("redis://u:p:q@h", Target("single", (Address("h", 6379),), username="u", password="p:q")),
        ("redis://127.0.0.1:1?engine=fakeredis", Target("single", (Address("127.0.0.1", 1),), engine="fakeredis")),
        ("unix:///run/r.sock", Target("single", (Address("", 0, "/run/r.sock"),))),
        ("unix://u:s@/r.sock?db=2", Target("single", (Address("", 0, "/r.sock"),), username="u", password="s", db=2)),
        (
            "redis+sentinel://a,b:1/main/3",
            Target("sentinel", (Address("a", 26379), Address("b", 1)), db=3, service="main"),
        ),
        (
            "rediss+sentinel://:s@a/main?sentinel_username=x&sentinel_password=y%20z",
            Target(
                "sentinel",
                (Address("a", 26379),),
                tls=True,
                password="s",
                service="main",
                sentinel_username="x",
                sentinel_password="y z",
            ),
        ),
        ("redis+cluster://a:1,b:2", Target("cluster", (Address("a", 1), Address("b", 2)))),
        ("valkeys+cluster://a", Target("cluster", (Address("a", 6379),), tls=True)),
    ],
)
def test_a_url_says_which_redis_where_and_as_whom(url: str | None, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "must begin"),
        ("hunter2", "must begin"),
        ("http://hunter2@h", "must begin"),
        ("redis:hunter2@h", "must begin"),
        ("redis://", "host"),
        ("redis://:hunter2@", "host"),
        ("redis://:hunter2@/0", "host"),
        ("redis://hunter2@h", "without a password"),
        ("redis://u:hunter2/x@h", "percent-encoded"),
        ("redis://u:hunter2@x@h", "percent-encoded"),
        ("redis://u:hunter2%ff@h", "UTF-8"),
        ("redis://:hunter2@h:0", "between 1 and 65535"),
        ("redis://:hunter2@h:65536", "between 1 and 65535"),
        ("redis://:hunter2@h:x", "not a number"),
        ("redis://:hunter2@h:١", "not a number"),
        ("redis://:hunter2@h/zero", "not a number"),
        ("redis://:hunter2@h/-1", "not a number"),
        ("redis://:hunter2@a,b", "several hosts"),
        ("redis://:hunter2@h?timeout=3", "query option"),
        ("redis://:hunter2@h?engine=mysql", "engine"),
        ("redis://:hunter2@h\n", "unprintable"),
        ("redis+sentinel://:hunter2@h", "master set"),
        ("redis+sentinel://:hunter2@h/", "master set"),
        ("redis+cluster://:hunter2@h/1", "no database but 0"),
        ("unix://:hunter2@run/redis.sock", "absolute path"),
    ],
)
def test_a_wrong_url_names_the_option_and_quotes_nothing(url: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint) as caught:
        parse_url(url)
    assert str(caught.value).startswith("store.redis_url: ")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_option_can_be_another() -> None:
    with pytest.raises(SettingsError, match=r"^store\.cache_redis_url: "):
        parse_url("nothing", "store.cache_redis_url")


def test_a_target_does_not_show_its_passwords() -> None:
    shown = repr(parse_url("redis+sentinel://u:hunter2@h/m?sentinel_password=hunter3"))
    assert "hunter" not in shown


_SCHEME = st.sampled_from(["redis", "rediss", "valkey", "unix", "redis+sentinel", "redis+cluster", "embedded", ""])
_REST = st.text(st.sampled_from("ab1:/@,?&=%[].-_0é \n") | st.characters(), max_size=40)


@given(st.builds(lambda scheme, rest: f"{scheme}://{rest}", _SCHEME, _REST) | st.text())
def test_whatever_is_written_the_answer_is_a_target_or_a_settings_error(url: str) -> None:
    try:
        target = parse_url(url)
    except SettingsError:
        return
    assert target.kind in {"embedded", "off"} or target.nodes
    assert all(node.path or (node.host and 0 < node.port < 65536) for node in target.nodes)


_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=20)


@given(user=_TEXT, password=_TEXT)
def test_any_credentials_survive_percent_encoding(user: str, password: str) -> None:
    from urllib.parse import quote

    target = parse_url(f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h:1/2")
    assert (target.username, target.password) == (user, password)
    assert (target.nodes, target.db) == ((Address("h", 1),), 2)
