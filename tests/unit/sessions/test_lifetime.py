"""What an application may choose, and what follows from it."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.errors import SessionValueError
from zdd_sdk.sessions.lifetime import LONGEST, Lifetime, choose_lifetime

IDLE, ABSOLUTE, CREATED = 1000, 5000, 1_700_000_000_000
seconds = st.none() | st.floats(-10.0, LONGEST, allow_nan=False)


@given(idle=seconds, absolute=seconds, browser=st.booleans())
def test_flags_say_what_was_chosen(idle, absolute, browser):
    lifetime = choose_lifetime(idle, absolute, browser=browser)
    assert lifetime.browser == browser
    assert set(lifetime.flags) == {
        flag for flag, chosen in (("m", idle is not None), ("x", absolute is not None), ("b", browser)) if chosen
    }


@given(idle=seconds, absolute=seconds, created=st.none() | st.just(CREATED))
def test_there_is_always_an_idle_timeout_and_exactly_one_end(idle, absolute, created):
    own, life, ends = choose_lifetime(idle, absolute, browser=False).terms(IDLE, ABSOLUTE, created)
    assert (life is None) != (ends is None)
    if idle is None:
        assert own == IDLE
    if (idle is not None and idle <= 0) or (absolute is not None and absolute <= 0):
        assert life == 0


def test_as_configured_counts_from_the_beginning():
    assert Lifetime().terms(IDLE, ABSOLUTE, CREATED) == (IDLE, None, CREATED + ABSOLUTE)
    assert Lifetime().terms(IDLE, ABSOLUTE, None) == (IDLE, ABSOLUTE, None)


def test_a_moment_is_a_moment():
    moment = dt.datetime(2026, 11, 20, 12, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    assert choose_lifetime(None, moment, browser=False).ends == moment.timestamp() * 1000


@pytest.mark.parametrize(
    ("idle", "absolute"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (LONGEST + 1, None),
        (None, LONGEST + 1),
        ("60", None),
        (True, None),
        (None, dt.datetime(2030, 1, 1)),  # noqa: DTZ001 - that is what is refused
        (None, dt.datetime.max.replace(tzinfo=dt.UTC)),
    ],
)
def test_what_cannot_be(idle, absolute):
    with pytest.raises(SessionValueError):
        choose_lifetime(idle, absolute, browser=False)
