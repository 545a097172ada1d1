"""A cookie, a service or an environment renamed under way: each rolling step both ways, no logout, no field lost."""

from __future__ import annotations

import random

import pytest

from tests.flows.sessions.visitor import Visitor, login, logout, make_sessions, state, writing
from zdd_sdk.errors import SettingsError
from zdd_sdk.store import Keys

OLD, NEW = Keys("shop", "test"), Keys("store", "test")
COOKIES = [
    {"cookie_name": "old"},
    {"cookie_name": "old", "also_read_cookies": ("new",)},
    {"cookie_name": "new", "also_read_cookies": ("old",)},
    {"cookie_name": "new"},
]
KEYS = [
    {"keys": OLD},
    {"keys": OLD, "also_read_keys": ("store/test",)},
    {"keys": NEW, "also_read_keys": ("shop/test",)},
    {"keys": NEW},
]
PREFIX = [
    {"cookie_name": "sid"},
    {"cookie_name": "sid", "also_read_cookies": ("__Secure-sid",)},
    {"cookie_name": "sid", "cookie_domain": "shop.example", "also_read_cookies": ("__Host-sid",)},
    {"cookie_name": "sid", "cookie_domain": "shop.example"},
]
SWITCHES = {
    "cookie": COOKIES,
    "keys": KEYS,
    "prefix": PREFIX,
    "both": [a | b for a, b in zip(COOKIES, KEYS, strict=True)],
    "encrypted keys": [step | {"encrypt": "on"} for step in KEYS],
    "keys and encryption": [step | {"encrypt": "on" if number > 1 else "off"} for number, step in enumerate(KEYS)],
}


class Browser:
    """Keeps cookies by name, as set and deleted."""

    def __init__(self, flow):
        self.flow = flow
        self.cookies = {}

    def visit(self, sessions, handler, *, load=True):
        visitor = Visitor(sessions, self.flow.store)
        pairs = [f"{name}={value}" for name, value in self.cookies.items()]
        exchange = visitor.exchange(cookies=["; ".join(pairs)] if pairs else [])
        reply = self.flow(visitor.answer(exchange, handler, load=load, keep=False))
        assert reply.status == 200
        for line in reply.values("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            if value and "Max-Age=0" not in line:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return reply.result


def wander(browser, instances, seed, steps=20):
    """Random requests to random instances; every one of them must see all that came before."""
    chance, user, fields = random.Random(seed), *browser.visit(instances[0], state)
    for number in range(steps):
        sessions = chance.choice(instances)
        assert browser.visit(chance.choice(instances), state) == (user, fields)
        match chance.choice(["write", "write", "write", "delete", "login", "rotate", "logout"]):
            case "write":
                fields[f"f{number % 5}"] = [number]
                browser.visit(sessions, writing(**{f"f{number % 5}": [number]}))
            case "delete" if fields:
                name = chance.choice(sorted(fields))
                del fields[name]
                browser.visit(sessions, dropping(name))
            case "login":
                user = "ada"
                browser.visit(sessions, login(user))
            case "rotate":
                browser.visit(sessions, rotate)
            case "logout" if number % 3 == 0:
                user, fields = None, {}
                browser.visit(sessions, logout, load=False)
        assert len(browser.cookies) <= 1
    assert browser.visit(sessions, state) == (user, fields)


def dropping(name):
    async def handler(session):
        del session[name]

    return handler


async def rotate(session):
    session.rotate()


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("step", [0, 1])
def test_neighbouring_steps_serve_the_same_users(flow, switch, step):
    instances = [make_sessions(**SWITCHES[switch][number]) for number in (step, step + 1)]
    wander(Browser(flow), instances, f"{switch} {step}")


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_whole_switch_and_back(flow, switch):
    browser, steps = Browser(flow), [make_sessions(**options) for options in SWITCHES[switch]]
    browser.visit(steps[0], writing(begun=1))
    browser.visit(steps[0], login("ada"))
    for number in (1, 2, 1, 0, 1, 2):
        assert browser.visit(steps[number], state)[0] == "ada"
        browser.visit(steps[number], writing(**{f"at{number}": [number]}))
    browser.visit(steps[2], login("ada"))  # what was begun before ends; until then the old is read
    assert browser.visit(steps[3], state) == ("ada", {"begun": 1, "at0": [0], "at1": [1], "at2": [2]})
    wander(browser, steps[2:], 7)


@pytest.mark.parametrize("switch", ["cookie", "keys", "prefix"])
def test_control_renamed_at_once_everybody_is_logged_out(flow, switch):
    browser, first, last = Browser(flow), *(make_sessions(**SWITCHES[switch][number]) for number in (0, 3))
    browser.visit(first, writing(begun=1))
    browser.visit(first, login("ada"))
    assert browser.visit(last, state) == (None, {})


@pytest.mark.parametrize("switch", ["cookie", "keys"])
def test_control_without_reading_the_new_first_a_rollback_logs_out(flow, switch):
    browser, first, third = Browser(flow), *(make_sessions(**SWITCHES[switch][number]) for number in (0, 2))
    browser.visit(third, writing(begun=1))
    browser.visit(third, login("ada"))
    assert browser.visit(first, state) == (None, {})


def test_trips_stay_one_and_two(tap, flow):
    before, after = (make_sessions(**SWITCHES["both"][number]) for number in (1, 2))
    browser = Browser(flow)

    def trips(sessions, handler, **options):
        tap.reset()
        browser.visit(sessions, handler, **options)
        return tap.trips

    for _ in range(2):
        counts = [
            trips(before, writing(a=[1])),
            trips(after, state),
            trips(after, writing(a=[2])),
            trips(after, login("ada")),
            trips(before, state),
            trips(before, writing(a=[3])),
            trips(before, logout, load=False),
        ]
    assert counts == [1, 1, 2, 2, 1, 2, 1]


def test_a_login_leaves_one_cookie_though_the_browser_had_two(flow):
    first, second = (make_sessions(**COOKIES[number]) for number in (1, 2))
    browser, other = Browser(flow), Browser(flow)
    browser.visit(first, writing(a=1))
    other.visit(second, writing(b=1))
    browser.cookies.update(other.cookies)
    assert len(browser.cookies) == 2
    browser.visit(first, login("ada"))
    assert list(browser.cookies) == ["__Host-old"]
    assert browser.visit(second, state)[0] == "ada"


def test_a_logout_ends_what_lies_anywhere(flow, wire):
    old, after = (make_sessions(**KEYS[number]) for number in (0, 2))
    browser = Browser(flow)
    browser.visit(old, writing(a=1))
    kept = dict(browser.cookies)
    browser.visit(after, logout, load=False)
    assert browser.cookies == {}
    browser.cookies = kept
    assert browser.visit(old, state) == (None, {})


@pytest.mark.parametrize("option", ["also_read_cookies", "also_read_keys"])
@pytest.mark.parametrize("entry", ["", "a b", "zdd_session", "a/b/c", "/x", "x;y"])
def test_impossible_entries_refuse_to_start(option, entry):
    with pytest.raises(SettingsError, match=f"sessions.{option} cannot hold"):
        make_sessions(**{option: (entry,)})
