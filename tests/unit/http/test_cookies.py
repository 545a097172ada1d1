"""Cookies: bounded reading, exact writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.http import cookie_values, delete_cookie, set_cookie
from zdd_sdk.http.cookies import MAX_COOKIE_HEADER, MAX_COOKIE_VALUES


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ([], ()),
        (["a=1"], ()),
        (["s=1"], ("1",)),
        (["a=0; s=1; s=2", "s=3"], ("1", "2", "3")),
        (['s="quoted"'], ("quoted",)),
        (["s", "=x", ";;;", "s=1=2"], ("1=2",)),
        (["S=1; xs=2; sx=3"], ()),
        (["; ".join(f"s={index}" for index in range(99))], ("0", "1", "2", "3")),
    ],
)
def test_reading(headers: list[str], values: tuple[str, ...]) -> None:
    assert values == cookie_values(headers, "s")


def test_what_lies_beyond_the_limit_is_not_read() -> None:
    padding = "a=" + "x" * MAX_COOKIE_HEADER

    assert () == cookie_values([f"{padding}; s=1"], "s")
    assert () == cookie_values([padding, "s=1"], "s")
    assert ("1",) == cookie_values(["s=1", padding], "s")


@given(st.lists(st.text(), max_size=5), st.text(min_size=1))
def test_nothing_a_client_sends_raises(headers: list[str], name: str) -> None:
    assert len(cookie_values(headers, name)) <= MAX_COOKIE_VALUES


def test_writing() -> None:
    assert "__Host-s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure" == set_cookie("__Host-s", "v", max_age=60)
    assert "s=v; Path=/a; Domain=x.org; HttpOnly; SameSite=Strict" == set_cookie(
        "s", "v", max_age=None, path="/a", domain="x.org", secure=False, same_site="Strict"
    )


def test_deleting() -> None:
    line = delete_cookie("s")

    assert line.startswith("s=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure; Expires=Thu, 01 Jan 1970")
