"""Whatever stands in an option: a `SettingsError` or a service that can be built, never anything else."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zdd_sdk import ZeroDowntime
from zdd_sdk.errors import SettingsError
from zdd_sdk.settings import leaves, load_settings

LEAVES = {leaf.path: leaf for leaf in leaves()}
HIDDEN = "hidden-pass-word"
WORDS = [
    *["", " ", "0", "-1", "1", "1e400", "nan", "inf", "-inf", "0s", "1ms", "-1s", "1s", "99999999999999d", "1e300d"],
    *["64KiB", "999999999999GiB", "true", "None", "null", "off", "on", "stale", "fleet", "Lax", "none", "__Host-x"],
    *["../..", "/", "//", "a b", "a;b", "a\nb", "a\x00b", "\ud800", "\udcff", "é", "𝔄" * 300, "x" * 100_000],
    *["{}", "[]", "%s", "${HOME}", ",", ",,,", HIDDEN, f"{HIDDEN},{HIDDEN}" * 5, "embedded://", "redis://"],
    *["redis://h:99999", "redis://h:x/y", f"redis://u:{HIDDEN}@h:0/999999999999", f"redis://u:{HIDDEN}@[::1"],
    *[f"unix://{HIDDEN}", f"redis+sentinel://{HIDDEN}@h", f"redis+cluster://u:{HIDDEN}@h/3", f"http://u:{HIDDEN}@h"],
    *[f"rediss://u:{HIDDEN}@h?ssl_cert_reqs=none", f"redis://u:{HIDDEN}\n@h", f"redis://u:{HIDDEN}@h/0#{HIDDEN}"],
]
VALUES = [None, True, False, 0, -1, 10**30, 10**400, 0.0, -0.5, 1e308, float("nan"), float("inf"), b"x", (), [], ["x"]]
VALUES += [{}, {"a": 1}, object()]


def build(**given):
    """Everything that a service builds from its options before it serves."""
    zdd = ZeroDowntime(**given)
    zdd.loaded.shown(), zdd.loaded.fingerprint()
    zdd.participants, zdd.release, zdd.lifecycle, zdd.fleet  # noqa: B018
    zdd.stores.check()
    return zdd


def try_to(function, *, only=(), **given):
    """Call it; whatever it refuses is a typed error that hides what must be hidden."""
    said = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(**given)
        except SettingsError as error:
            said = str(error)
    secret = any(LEAVES[path].option.secret for path in (only or given))
    # An option that is no secret is quoted, even if somebody has put a password into it.
    open_ones = [path for path in given if path in LEAVES and not LEAVES[path].option.secret]
    quoted = any(HIDDEN in repr(given[path]) for path in open_ones)
    assert quoted or not (secret and HIDDEN in said)
    assert "\n" not in said
    assert len(said) < 500


@pytest.fixture(autouse=True)
def _no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_in_the_environment(path, monkeypatch):
    for word in WORDS:
        if "\x00" not in word and "\ud800" not in word:  # these no environment can hold
            monkeypatch.setenv(LEAVES[path].env, word)
            try_to(build, only=[path])


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_as_an_argument(path):
    for value in (*WORDS, *VALUES):
        try_to(build, **{path: value})


FILES = [
    b"x = = 1",
    b"\xff\xfe",
    b"\x00",
    b"sessions = 3",
    b"[[sessions]]\na = 1",
    b"store = []",
    b"[sessions.idle_timeout]\na = 1",
    b"secret = [1]",
    b"secret = {a = 1}",
    b"service = 1979-05-27",
    b"[a.b.c]\nd = 1",
    b'"" = 1',
    b"[sessions]\n1 = 2",
]


@pytest.mark.parametrize("content", FILES)
def test_a_file_of_garbage(tmp_path, content):
    (tmp_path / "zdd.toml").write_bytes(content)
    try_to(load_settings, only=["secret"])
    try_to(load_settings, only=["secret"], environ={"ZDD_CONFIG": str(tmp_path / "zdd.toml")})


@pytest.mark.parametrize(
    "content", ["tool = 3", "tool = []", "[tool]\nzdd = 3", "[[tool.zdd]]\na = 1", "[tool.zdd]\nstore = 3"]
)
def test_a_pyproject_of_garbage(tmp_path, content):
    (tmp_path / "pyproject.toml").write_text(content)
    try_to(load_settings, only=["secret"])


@pytest.mark.parametrize("name", ["/nonexistent/zdd.toml", "/", "\x00", "x" * 5000, "/dev/null"])
def test_a_file_that_is_not_there(name):
    try_to(load_settings, only=["secret"], environ={"ZDD_CONFIG": name})


texts = st.text(max_size=20) | st.sampled_from(WORDS) | st.floats().map(str) | st.integers().map(str)
anything = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(sorted(LEAVES)), anything, max_size=4))
def test_any_arguments(given_options):
    try_to(build, **given_options)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sessions.cookie_name", "a b"),
        ("sessions.cookie_domain", "a;b"),
        ("sessions.max_field", 0),
        ("sessions.login_grace", "1h"),
    ],
)
def test_wrong_session_options_are_refused_before_anything_is_served(path, value):
    """Later would be inside the lifespan, where a server takes an error for "no lifespan here" and serves."""
    with pytest.raises(SettingsError, match=path):
        ZeroDowntime(**{path: value})
    ZeroDowntime(**{path: value, "sessions.enabled": False})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("store.pool_size", 0),
        ("store.pool_size", -1),
        ("store.operation_timeout", "0s"),
        ("store.connect_timeout", 0),
        ("store.total_timeout", "0ms"),
        ("lifecycle.check_interval", 0),
        ("lifecycle.health_prefix", "health"),
        ("lifecycle.health_prefix", "/health/"),
        ("fleet.pulse", 0),
        ("sessions.idle_timeout", "99999999999999d"),
        ("release.version", "\udcff"),
    ],
)
def test_what_could_never_work_is_refused(path, value):
    with pytest.raises(SettingsError, match=path):
        build(**{path: value})
