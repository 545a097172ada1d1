"""Redis away in every way there is, end to end: what the clients of a real server see meanwhile and afterwards."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter

import pytest

from tests.servers.site import COOKIE, Browser, admit, detail, open_site, told
from tests.servers.start import ALL
from zdd_sdk.store.engine import start_engine

pytestmark = pytest.mark.xdist_group("outage")

FAST_FLEET = {"ZDD_FLEET_PULSE": "200ms", "ZDD_FLEET_TTL": "1s"}
"""Known three TTLs after the start; by default that takes half a minute."""


@pytest.fixture(scope="module")
def engine():
    with start_engine("real") as started:
        yield started


@pytest.fixture(scope="module")
def _site(engine, tmp_path_factory):
    with open_site(engine, tmp_path_factory.mktemp("site"), **FAST_FLEET) as opened:
        yield opened


@pytest.fixture
def site(_site):
    """The site, in order before and after."""
    recover(_site)
    yield _site
    recover(_site)
    assert "Traceback" not in _site.server.text()


@pytest.fixture
def ada(site):
    """A browser in which ada is logged in and has a cart."""
    browser = log_in(site, "ada")
    yield browser
    browser.close()


def recover(site):
    site.engine.resume()
    if not site.engine.alive:
        site.engine.restart()
    admit(site.engine)
    site.tap.heal()
    until(lambda: site.ask("/me", "GET", f"{COOKIE}={'A' * 16}.{'b' * 43}").status == 200)


def log_in(site, user):
    browser = Browser(site.port)
    browser.ask("/write", "POST", name="cart", value=f"of {user}")
    assert browser.ask("/login", "POST", user=user).status == 200
    return browser


def until(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def fleet(site):
    return told(site.ask("/fleet"))


def assert_503(reply):
    assert reply.status == 503, reply
    assert int(reply.values("retry-after")[0]) >= 1
    assert reply.values("set-cookie") == []
    assert detail(reply)
    # Where Redis is and what it said is for the log.
    assert not re.search(rb"\d+\.\d+\.\d+|Errno|:\d{4}|READONLY|OOM|WRONGPASS|NOAUTH|EVALSHA", reply.body), reply.body


def assert_all_there(browser, user="ada"):
    assert told(browser.ask("/me")) == {"user": user, "fields": {"cart": f"of {user}"}, "available": True}


class Client(threading.Thread):
    """One user on one kept-alive connection, asking one path over and over."""

    def __init__(self, browser, path):
        super().__init__(daemon=True)
        self.browser, self.path = browser, path
        self.ending = threading.Event()
        self.replies = []
        self.broken = None
        self.opened = browser.client
        self.issued = len(browser.set_cookies)

    def run(self):
        try:
            while not self.ending.wait(0.02):
                began = time.monotonic()
                self.replies.append((self.browser.ask(self.path), time.monotonic() - began))
        except (OSError, ValueError, AssertionError) as error:
            self.broken = error

    def finish(self):
        self.ending.set()
        self.join(10)
        assert self.broken is None
        assert self.browser.client is self.opened, "the connection was closed"
        assert len(self.browser.set_cookies) == self.issued, "a cookie was set or deleted"
        return self.replies


SILENCE = 10 if ALL else 3
"""Seconds."""


def test_seconds_of_silence(site):
    """SIGSTOP, default time limits, 20 kept-alive clients: half of them use their session, half need none."""
    browsers = {f"user{number}": log_in(site, f"user{number}") for number in range(20)}
    until(lambda: fleet(site)["known"])
    free = [Client(browser, "/free") for browser in list(browsers.values())[:10]]
    using = [Client(browser, "/me") for browser in list(browsers.values())[10:]]
    for client in (*free, *using):
        client.start()
    time.sleep(2)
    before = sum(len(client.replies) for client in free)
    site.tap.reset()
    site.engine.pause()
    time.sleep(0.2)
    views = [fleet(site) for _ in range(SILENCE * 10 - 2) if time.sleep(0.1) is None]
    during = sum(len(client.replies) for client in free) - before
    commands = site.tap.commands
    site.engine.resume()
    assert all(reply.status == 200 for client in free for reply, _ in client.finish())
    assert during > SILENCE / 2 * before / 2, "routes without a session were slowed down"
    until(lambda: all(client.replies[-1][0].status == 200 for client in using))
    refused = [(reply, took) for client in using for reply, took in client.finish() if reply.status != 200]
    for reply, _ in refused:
        assert_503(reply)
    # 10 clients wait out the budget, some of them twice before the third timeout in a row; all the rest is answered
    # without asking Redis, but for a probe a second and the pulses (one in 200 ms).
    assert len(refused) > 100 * (SILENCE - 2)
    assert len(commands) < 40 + 6 * SILENCE
    assert sum(took > 0.25 for _, took in refused) < 60
    assert not any(view["known"] and view["workers"] == 0 for view in views)
    assert not views[-1]["known"]
    for user, browser in browsers.items():
        assert_all_there(browser, user)
        browser.close()
    until(lambda: fleet(site)["known"])
    assert fleet(site)["workers"] >= 1


def test_a_service_boots_without_redis_and_finds_it_later(engine, tmp_path):
    with open_site(engine, tmp_path, refused=True, **FAST_FLEET) as site:
        assert site.ask("/readyz").status == 200
        assert site.ask("/free").status == 200
        assert site.ask("/me").status == 200, "no cookie, no trip"
        assert_503(site.ask("/me", "GET", f"{COOKIE}={'A' * 16}.{'b' * 43}"))
        assert_503(site.ask("/login", "POST", user="ada"))
        unsaved = site.ask("/write", "POST", name="a", value="1")
        assert (unsaved.status, unsaved.values("set-cookie")) == (503, [])
        assert fleet(site) == {"known": False, "workers": 0, "epoch": ""}
        site.tap.heal()
        until(lambda: site.ask("/login", "POST", user="ada").status == 200)
        ada = log_in(site, "ada")
        assert_all_there(ada)
        ada.close()
        until(lambda: fleet(site)["known"])
        assert "Traceback" not in site.server.text()


def test_an_engine_that_was_killed_and_comes_back_empty(site, ada):
    until(lambda: fleet(site)["known"])
    epoch = fleet(site)["epoch"]
    site.engine.kill()
    assert_503(ada.ask("/me"))
    assert site.ask("/free").status == 200
    site.engine.restart()
    admit(site.engine)
    until(lambda: fleet(site)["epoch"] not in {"", epoch})
    assert not fleet(site)["known"]
    until(lambda: ada.ask("/me").status == 200)
    before = len(ada.set_cookies)
    assert told(ada.ask("/me")) == {"user": None, "fields": {}, "available": True}
    assert len(ada.set_cookies) == before, "a cookie was deleted for an id that Redis does not know"
    old = ada.cookie
    assert ada.ask("/write", "POST", name="a", value="1").status == 200
    assert ada.cookie != old, "an id that Redis does not know was adopted"
    assert told(ada.ask("/me"))["fields"] == {"a": "1"}


def test_no_memory_left(site, ada):
    site.engine.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        keys = site.keys()
        assert_all_there(ada)
        written = ada.ask("/write", "POST", name="b", value="1")
        assert (written.status, told(written)["fields"]["b"]) == (200, "1")
        stranger = site.ask("/write", "POST", name="b", value="1")
        assert (stranger.status, stranger.values("set-cookie")) == (200, [])
        assert_503(site.ask("/login", "POST", user="eve"))
        assert_503(ada.ask("/login", "POST", user="ada"))
        assert site.keys() == keys
        assert_all_there(ada)
    finally:
        site.engine.ask("CONFIG", "SET", "maxmemory", "0")
    assert told(ada.ask("/write", "POST", name="b", value="2"))["fields"]["b"] == "2"


def test_who_logs_out_where_no_memory_is_left_is_logged_out(site, ada):
    old = f"{COOKIE}={ada.cookie}"
    site.engine.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        assert ada.ask("/logout", "POST").status == 200
        assert ada.cookie == ""
        assert told(site.ask("/me", "GET", old))["user"] is None
    finally:
        site.engine.ask("CONFIG", "SET", "maxmemory", "0")


def test_a_read_only_replica(site, ada):
    site.engine.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        read = ada.ask("/me")
        assert read.status in {200, 503}
        written = ada.ask("/write", "POST", name="b", value="1")
        assert written.status in {200, 503}
        assert_503(site.ask("/login", "POST", user="eve"))
        assert_503(ada.ask("/logout", "POST"))
        assert site.ask("/free").status == 200
    finally:
        site.engine.ask("REPLICAOF", "NO", "ONE")
    until(lambda: ada.ask("/me").status == 200)
    assert_all_there(ada)


def test_another_password(site, ada):
    admit(site.engine, "another")
    assert_503(ada.ask("/me"))
    assert_503(ada.ask("/logout", "POST"))
    assert site.ask("/free").status == 200
    admit(site.engine)
    until(lambda: ada.ask("/me").status == 200)
    assert_all_there(ada)


def test_who_cannot_be_logged_out_is_told_so_and_can_try_again(site, ada):
    site.tap.refuse()
    cookie = ada.cookie
    assert_503(ada.ask("/logout", "POST"))
    assert ada.cookie == cookie
    site.tap.heal()
    until(lambda: ada.ask("/me").status == 200)
    assert_all_there(ada)
    assert ada.ask("/logout", "POST").status == 200
    assert ada.cookie == ""


def test_a_reply_lost_after_a_write_is_asked_for_again(site, ada):
    site.tap.reset()
    site.tap.drop_replies(1)
    assert told(ada.ask("/me"))["user"] == "ada"
    ada.ask("/write", "POST", name="cart", value="of ada")
    assert_all_there(ada)


@pytest.mark.parametrize("policy", ["anonymous", "stale"])
def test_the_other_policies(engine, tmp_path, policy):
    with open_site(engine, tmp_path, ZDD_SESSIONS_ON_UNAVAILABLE=policy) as site:
        ada = log_in(site, "ada")
        assert_all_there(ada)
        issued = len(ada.set_cookies)
        site.tap.refuse()
        seen = ada.ask("/me")
        known = {"user": "ada", "fields": {"cart": "of ada"}} if policy == "stale" else {"user": None, "fields": {}}
        assert (seen.status, told(seen)) == (200, {**known, "available": False})
        written = ada.ask("/write", "POST", name="a", value="1")
        assert written.status == (409 if policy == "stale" else 200)
        unknown = site.ask("/me", "GET", f"{COOKIE}={'A' * 16}.{'b' * 43}")
        assert unknown.status == (503 if policy == "stale" else 200)
        assert_503(ada.ask("/login", "POST", user="eve"))
        assert_503(ada.ask("/logout", "POST"))
        assert len(ada.set_cookies) == issued
        site.tap.heal()
        until(lambda: told(ada.ask("/me")).get("available"))
        assert_all_there(ada)
        ada.close()
        assert "Traceback" not in site.server.text()


class Wanderer(threading.Thread):
    """A user who logs in and out, reads and writes at random, and believes what the answers say."""

    def __init__(self, site, number):
        super().__init__(daemon=True)
        self.user, self.random = f"wanderer{number}", random.Random(number)
        self.browser = Browser(site.port)
        self.known, self.logged_in = True, False
        self.statuses, self.wrong = Counter(), []
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            self.step(self.random.choice(["/me", "/me", "/write", "/login", "/logout"]))
        self.browser.close()

    def step(self, path):
        query = {"/write": {"name": "of", "value": self.user}, "/login": {"user": self.user}}.get(path, {})
        reply = self.browser.ask(path, "GET" if path == "/me" else "POST", **query)
        self.statuses[path, reply.status] += 1
        if path in {"/login", "/logout"}:
            self.known, self.logged_in = reply.status == 200, path == "/login"
        elif reply.status == 200:
            self.judge(told(reply))

    def judge(self, seen):
        expected = {self.user if self.logged_in else None} if self.known else {self.user, None}
        if seen["user"] not in expected or seen["fields"].get("of", self.user) != self.user:
            self.wrong.append((seen, expected))


def test_faults_at_random_make_no_500_and_no_answer_untrue(site):
    """Who was told to be logged in is, who was told to be logged out is, and nobody ever is somebody else."""
    wanderers = [Wanderer(site, number) for number in range(10)]
    for wanderer in wanderers:
        wanderer.start()
    pick = random.Random(5)
    for _ in range(12):
        fault = pick.choice(
            [site.tap.refuse, site.tap.pause, lambda: site.tap.drop_replies(3), lambda: site.tap.delay(0.15)]
        )
        fault()
        time.sleep(pick.uniform(0.05, 0.3))
        site.tap.heal()
        time.sleep(pick.uniform(0.1, 0.3))
    for wanderer in wanderers:
        wanderer.ending.set()
        wanderer.join(10)
    assert [wanderer.wrong for wanderer in wanderers if wanderer.wrong] == []
    statuses = sum((wanderer.statuses for wanderer in wanderers), Counter())
    assert {status for _, status in statuses} <= {200, 409, 503}, statuses
    assert {("/login", 200), ("/login", 503), ("/logout", 200), ("/logout", 503), ("/me", 200)} <= statuses.keys()
