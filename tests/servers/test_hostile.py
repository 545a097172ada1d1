"""Hostile clients on raw sockets: never a 500, never somebody else's data, nothing written for who wrote nothing."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time

import pytest

from tests.servers.site import COOKIE, Browser, Client, Site, ask, detail, open_site, told
from tests.servers.start import ALL
from zdd_sdk.store.engine import start_engine

pytestmark = pytest.mark.xdist_group("hostile")

CHOSEN = "attackerchosen-_" + "." + "x" * 43
CROWD = 200
ROOMY = {
    "ZDD_STORE_CONNECT_TIMEOUT": "5s",
    "ZDD_STORE_OPERATION_TIMEOUT": "5s",
    "ZDD_STORE_TOTAL_TIMEOUT": "10s",
}
"""Far above the defaults: a busy machine must not fail a test of behaviour."""


@pytest.fixture(scope="module", params=["h11", "httptools"] if ALL else ["httptools"])
def site(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    with start_engine("real") as engine, open_site(engine, directory, "--http", request.param, **ROOMY) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _unharmed(site):
    """After every attack the server answers, and nothing of ours has failed in it."""
    seen = len(site.server.output)
    yield
    assert site.ask("/free").status == 200
    said = "".join(site.server.output[seen:])
    # Starlette tells a handler that its client is gone by an exception; the handler here lets it pass.
    assert said.count("Traceback") == said.count("ClientDisconnect\n"), said


@pytest.fixture
def ada(site):
    """A browser in which ada is logged in."""
    browser = Browser(site.port)
    browser.ask("/write", "POST", name="cart", value="tea")
    assert browser.ask("/login", "POST", user="ada").status == 200
    yield browser
    browser.close()


GARBAGE = {
    "nothing": b"",
    "short": b"x",
    "dots": b"." * 60,
    "too long by one": CHOSEN.encode() + b"x",
    "too short by one": CHOSEN.encode()[:-1],
    "bytes": b"\xc3\xa9" * 30,
    "invalid utf-8": b"\xff\xfe" * 30,
    "quotes": b'"' * 60,
    "one quote": b'"' + CHOSEN.encode(),
    "percent": b"%00%0a" * 10,
    "redis": b"'; FLUSHALL; *1\\r\\n$8\\r\\nFLUSHALL",
    "braces": b"}{" * 8 + b"." + b"x" * 43,
    "star": b"*",
    "tabs": b"\t" * 60,
    "chosen": CHOSEN.encode(),
    "chosen, in quotes": b'"' + CHOSEN.encode() + b'"',
}


def request(path, cookie, method="GET"):
    head = f"{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\nconnection: close\r\n".encode()
    return head + b"cookie: " + cookie + b"\r\n\r\n"


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_stranger(site, name):
    before = site.keys()
    answer = site.raw(request("/me", f"{COOKIE}=".encode() + GARBAGE[name]))
    assert status_of(answer) == 200
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"user": None, "fields": {}, "available": True}
    assert b"set-cookie" not in answer
    assert site.keys() == before


@pytest.mark.parametrize("forbidden", [b"\x00", b"\r", b"\n x", b"\x0b", b"\x7f"])
def test_what_no_header_may_hold_never_reaches_anybody(site, ada, forbidden):
    value = f"{COOKIE}={ada.cookie[:20]}".encode() + forbidden + ada.cookie[20:].encode()
    answer = site.raw(request("/me", value))
    assert status_of(answer) in {200, 400}
    assert b"ada" not in answer


@pytest.mark.parametrize("size", [5_000, 17_000, 60_000, 64 * 1024, 300_000])
def test_oversized_cookies_are_refused_or_ignored(site, size):
    before = site.keys()
    answer = site.raw(request("/me", f"{COOKIE}=".encode() + b"A" * size))
    assert status_of(answer) in {200, 400, 431}
    assert b'"ada"' not in answer
    assert site.keys() == before


@pytest.mark.parametrize("place", range(10))
def test_of_ten_cookies_of_one_name_the_first_four_count(site, ada, place):
    values = [CHOSEN[:-2] + f"{number:02}" for number in range(10)]
    values[place] = ada.cookie
    reply = site.ask("/me", "GET", "; ".join(f"{COOKIE}={value}" for value in values))
    assert told(reply)["user"] == ("ada" if place < 4 else None)
    assert reply.values("set-cookie") == []


def mutations(cookie):
    tag, _, secret = cookie.partition(".")
    other_tag = ("B" if tag[0] == "A" else "A") + tag[1:]
    return {
        "changed tag": f"{other_tag}.{secret}",
        "tag of lower case": f"{tag.lower()}.{secret}",
        "tag of upper case": f"{tag.upper()}.{secret}",
        "secret of lower case": f"{tag}.{secret.lower()}",
        "swapped case": cookie.swapcase(),
        "extra byte": cookie + "A",
        "extra byte before": "A" + cookie,
        "byte less": cookie[:-1],
        "last byte": cookie[:-1] + ("B" if cookie[-1] == "A" else "A"),
        "padded": cookie + "=",
        "only the tag": tag,
        "only the secret": secret,
        "other separator": f"{tag}:{secret}",
        "percent-encoded": cookie.replace(".", "%2E"),
        "twice": f"{cookie}.{cookie}",
        "with a path": cookie + "/../" + cookie,
    }


@pytest.mark.parametrize("how", mutations("A" * 16 + "." + "b" * 43))
def test_what_is_nearly_adas_id_is_a_stranger(site, ada, how):
    changed = mutations(ada.cookie)[how]
    if changed != ada.cookie:  # an id without letters has no other case
        assert told(site.ask("/me", "GET", f"{COOKIE}={changed}"))["user"] is None
    assert told(ada.ask("/me")) == {"user": "ada", "fields": {"cart": "tea"}, "available": True}


def test_bobs_tag_does_not_lead_to_ada_nor_adas_to_bob(site, ada):
    bob = Browser(site.port)
    bob.ask("/login", "POST", user="bob")
    tags, secrets = zip(*(one.cookie.split(".") for one in (ada, bob)), strict=True)
    for crossed in (f"{tags[0]}.{secrets[1]}", f"{tags[1]}.{secrets[0]}"):
        assert told(site.ask("/me", "GET", f"{COOKIE}={crossed}"))["user"] is None
    bob.close()


@pytest.mark.parametrize(
    "name", [COOKIE.lower(), COOKIE.upper(), "zdd_session", "__Secure-zdd_session", f" {COOKIE} x"]
)
def test_another_name_is_another_cookie(site, ada, name):
    assert told(site.ask("/me", "GET", f"{name}={ada.cookie}"))["user"] is None


def test_control_adas_own_cookie_is_ada(site, ada):
    assert told(site.ask("/me", "GET", f"x=1; {COOKIE}={ada.cookie}; y"))["user"] == "ada"
    assert told(site.ask("/me", "GET", f'{COOKIE}="{ada.cookie}"'))["user"] == "ada"


def test_a_chosen_id_is_never_adopted(site):
    browser = Browser(site.port, CHOSEN)
    before = site.keys()
    browser.ask("/write", "POST", name="a", value="1")
    assert browser.cookie not in {"", CHOSEN}
    assert len(site.keys() - before) == 1
    assert told(site.ask("/me", "GET", f"{COOKIE}={CHOSEN}"))["fields"] == {}
    browser.close()


def test_the_id_of_before_a_login_reads_only_what_was_there_before(site):
    browser = Browser(site.port)
    browser.ask("/write", "POST", name="cart", value="tea")
    planted = f"{COOKIE}={browser.cookie}"
    browser.ask("/login", "POST", user="ada")
    browser.ask("/write", "POST", name="card", value="1234")
    before = site.keys()
    assert told(site.ask("/me", "GET", planted)) == {"user": None, "fields": {"cart": "tea"}, "available": True}
    refused = site.ask("/write", "POST", planted, name="a", value="1")
    assert (refused.status, refused.values("set-cookie")) == (409, [])
    assert told(browser.ask("/me"))["fields"] == {"cart": "tea", "card": "1234"}
    assert site.keys() == before
    browser.close()


def test_a_logged_out_id_is_a_stranger_for_ever(site, ada):
    old = f"{COOKIE}={ada.cookie}"
    assert ada.ask("/logout", "POST").status == 200
    before = site.keys()
    assert told(site.ask("/me", "GET", old))["user"] is None
    written = site.ask("/write", "POST", old, name="a", value="1")
    assert old not in "".join(written.values("set-cookie"))
    assert len(site.keys() - before) == 1
    assert told(site.ask("/me", "GET", old)) == {"user": None, "fields": {}, "available": True}


def test_reading_with_a_thousand_chosen_ids_leaves_nothing_in_redis(site):
    before = site.keys()
    with Client(site.port) as client:
        for number in range(0, 1000, 4):
            cookies = "; ".join(f"{COOKIE}={CHOSEN[:-4]}{one:04}" for one in range(number, number + 4))
            reply = ask(client, "/me", "GET", cookies)
            assert (reply.status, reply.values("set-cookie")) == (200, [])
    assert site.keys() == before


def test_control_writing_leaves_one_key_each(site):
    before = site.keys()
    for _ in range(5):
        site.ask("/write", "POST", f"{COOKIE}={CHOSEN}", name="a", value="1")
    assert len(site.keys() - before) == 5
    assert all(site.engine.ask("PTTL", key) > 0 for key in site.keys() - before)


def half(site, data, *, wait=0.0, reset=False):
    """Send a part of something and vanish."""
    connection = socket.create_connection(("127.0.0.1", site.port), 5)
    connection.sendall(data)
    time.sleep(wait)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("reset", [False, True])
def test_who_vanishes_inside_the_header_has_asked_nothing(site, ada, reset):
    before = site.keys()
    whole = request("/write?name=a&value=1", f"{COOKIE}={ada.cookie}".encode(), "POST")
    for cut in range(1, len(whole) - 1, 17):
        half(site, whole[:cut], reset=reset)
    assert told(ada.ask("/me"))["fields"] == {"cart": "tea"}
    assert site.keys() == before


@pytest.mark.parametrize("reset", [False, True])
def test_who_vanishes_inside_the_body_has_written_nothing(site, ada, reset):
    head = f"POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\ncookie: {COOKIE}={ada.cookie}\r\n\r\n"
    before = site.keys()
    half(site, head.encode() + b"x" * 10, wait=0.2, reset=reset)
    time.sleep(0.2)
    assert told(ada.ask("/me"))["fields"] == {"cart": "tea"}
    assert site.keys() == before


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("path", "name"), [("/slow", "slow"), ("/stream", "stream")])
def test_who_vanishes_before_the_answer_has_written_all_or_nothing(site, ada, path, name, reset):
    before = site.keys()
    half(site, request(f"{path}?value=1", f"{COOKIE}={ada.cookie}".encode(), "POST"), wait=0.1, reset=reset)
    time.sleep(0.5)
    assert told(ada.ask("/me"))["fields"] in ({"cart": "tea"}, {"cart": "tea", name: "1"})
    assert told(ada.ask("/me"))["user"] == "ada"
    assert site.keys() == before


def test_who_vanishes_during_a_login_or_a_logout_finds_either_state(site, ada):
    cookie = f"{COOKIE}={ada.cookie}".encode()
    for _ in range(10):
        half(site, request("/logout", cookie, "POST"), reset=True)
    time.sleep(0.3)
    found = told(ada.ask("/me"))
    assert (found["user"], found["fields"]) in [("ada", {"cart": "tea"}), (None, {})]


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: -1",
        b"content-length: 1e3",
        b"content-length: 99999999999999999999999",
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked, chunked",
        b"transfer-encoding: xyz",
    ],
)
def test_a_length_that_cannot_be_is_refused(site, ada, lines):
    before = site.keys()
    data = b"POST /upload HTTP/1.1\r\nhost: test\r\ncookie: " + f"{COOKIE}={ada.cookie}\r\n".encode() + lines
    answer = site.raw(data + b"\r\n\r\nhello", end=True)
    assert status_of(answer) < 500
    assert told(ada.ask("/me"))["fields"] == {"cart": "tea"}
    assert site.keys() == before


def test_what_follows_a_body_that_is_too_long_is_a_request_of_its_own(site, ada):
    """The rest of one client's body must not be taken for a request with the cookie of the one before."""
    hidden = request("/me", b"x=1")
    head = f"POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\ncookie: {COOKIE}={ada.cookie}\r\n\r\n".encode()
    answer = site.raw(head + b"hello" + hidden)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["user"] is None


def test_pipelined_requests_keep_their_own_cookies(site):
    users = ["ada", "bob", "eve"]
    browsers = {user: Browser(site.port) for user in users}
    for user, browser in browsers.items():
        browser.ask("/login", "POST", user=user)
        browser.ask("/write", "POST", name="of", value=user)
    order = [random.Random(7).choice([*users, None]) for _ in range(60)]
    with Client(site.port) as client:
        sent = [request("/me", f"{COOKIE}={browsers[who].cookie}".encode() if who else b"x=1") for who in order]
        client.socket.sendall(b"".join(sent).replace(b"connection: close\r\n", b""))
        answers = [told(client.reply()) for _ in order]
    assert [answer["user"] for answer in answers] == order
    assert [answer["fields"].get("of") for answer in answers] == order
    for browser in browsers.values():
        browser.close()


@pytest.mark.parametrize(("path", "status"), [("/unstorable", 500), ("/too-large", 413)])
def test_a_session_that_cannot_be_kept_is_a_typed_answer_and_one_line_in_the_log(site, ada, path, status):
    before, seen = site.keys(), len(site.server.output)
    reply = ada.ask(path, "POST")
    assert (reply.status, reply.values("set-cookie")) == (status, [])
    assert "basket" in detail(reply)
    assert told(ada.ask("/me"))["fields"] == {"cart": "tea"}
    assert site.keys() == before
    site.server.wait_for("basket", "".join(site.server.output[:seen]).count("basket") + 1)
    said = site.server.output[seen:]
    assert sum("basket" in line for line in said) == 1, said
    assert "Traceback" not in "".join(said)
    del site.server.output[seen:]


class Crowd:
    """Many clients at once, each on its own connection, each as any user."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: list[str] = []
        self.wrong: list[str] = []
        self.statuses: set[int] = set()

    async def gather(self) -> None:
        self.cookies = list(await asyncio.gather(*(self.join(number) for number in range(CROWD))))

    async def join(self, number: int) -> str:
        async with Line(self.site.port) as line:
            _, cookie, _ = await line.ask("POST", f"/login?user=user{number}", "")
            status, again, _ = await line.ask("POST", f"/write?name=of&value=user{number}", cookie)
            assert (status, again) == (200, "")
            return cookie

    async def swap(self, path: str, rounds: int) -> None:
        await asyncio.gather(*(self.client(number, path, rounds) for number in range(CROWD)))

    async def client(self, number: int, path: str, rounds: int) -> None:
        pick = random.Random(number)
        async with Line(self.site.port) as line:
            for _ in range(rounds):
                who = pick.randrange(CROWD)
                status, cookie, body = await line.ask("GET", path, self.cookies[who])
                self.statuses.add(status)
                answer = json.loads(body)
                if cookie or answer["user"] != f"user{who}" or answer["fields"] != {"of": f"user{who}"}:
                    self.wrong.append(f"user{who} was shown {answer}")


class Line:
    """One connection on a loop."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, method: str, path: str, cookie: str) -> tuple[int, str, bytes]:
        """Return status, our cookie if one is set, and body."""
        self.writer.write(request(path, f"{COOKIE}={cookie}".encode(), method).replace(b"connection: close\r\n", b""))
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        issued = headers.get("set-cookie", "").partition(";")[0].partition("=")[2]
        return int(first.split()[1]), issued, body


@pytest.fixture(scope="module")
def crowd(site):
    gathered = Crowd(site)
    asyncio.run(gathered.gather())
    return gathered


def test_two_hundred_clients_with_swapped_cookies_are_never_mixed_up(site, crowd):
    before = site.keys()
    asyncio.run(crowd.swap("/me", 5))
    assert crowd.wrong == []
    assert crowd.statuses == {200}
    assert site.keys() == before


def test_control_the_crowd_catches_a_global_over_an_await(crowd):
    asyncio.run(crowd.swap("/leaky", 2))
    assert crowd.wrong
    crowd.wrong.clear()
