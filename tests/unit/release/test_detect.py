"""Which source wins, field by field, and what is never believed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zdd_sdk.release import FIELDS, PLATFORM_VARIABLES, detect_release
from zdd_sdk.release.model import MAX_VALUE
from zdd_sdk.settings import ReleaseSettings, load_settings

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def detect(directory: Path, *, environ=None, settings=None, **options):
    return detect_release(
        settings or ReleaseSettings(), "production", environ=environ or {}, directory=directory, **options
    )


def bake(directory: Path, content) -> None:
    directory.joinpath("release.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_nothing_known_is_unknown_with_its_environment(tmp_path):
    release = detect(tmp_path)
    assert {field.source for name, field in release.fields().items() if name != "environment"} == {"unknown"}
    assert (release.environment.value, release.id, release.label) == ("production", "unknown", "unknown")
    assert not release.identified
    assert release.attributes() == {"deployment.environment.name": "production"}


def test_each_source_gives_way_to_the_one_before_it(tmp_path):
    bake(tmp_path, {"version": "baked", "commit": OTHER})
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=otel,vcs.ref.head.revision=" + SHA,
        "GITHUB_SHA": "a" * 40,
        "GITHUB_RUN_NUMBER": "512",
    }
    seen = []
    for settings in (ReleaseSettings(version="given"), ReleaseSettings()):
        release = detect(tmp_path, environ=environ, settings=settings, distribution="msgspec")
        seen.append((release.version.value, release.version.source))
    del environ["OTEL_RESOURCE_ATTRIBUTES"]
    release = detect(tmp_path, environ=environ, distribution="msgspec")
    seen.append((release.version.value, release.version.source))
    assert (release.commit.value, release.commit.source) == (OTHER, "release.json")
    (tmp_path / "release.json").unlink()
    release = detect(tmp_path, environ=environ, distribution="msgspec")
    assert (release.commit.value, release.commit.source) == ("a" * 40, "GITHUB_SHA")
    assert (release.build.value, release.build.source) == ("512", "GITHUB_RUN_NUMBER")
    assert release.version.source == "metadata of msgspec"
    assert seen == [
        ("given", "argument"),
        ("otel", "OTEL_RESOURCE_ATTRIBUTES"),
        ("baked", "release.json"),
    ]


def test_provenance_is_exact_when_the_loader_says_where_each_option_came_from(tmp_path):
    tmp_path.joinpath("zdd.toml").write_text('[release]\nbranch = "main"\n')
    environ = {"ZDD_RELEASE_VERSION": "2", "ZDD_ENVIRONMENT": "staging"}
    loaded = load_settings({"release.build": "7"}, environ=environ, directory=tmp_path)
    release = detect_release(
        loaded.values.release, loaded.values.environment, environ=environ, directory=tmp_path, origins=loaded.origins
    )
    sources = {name: field.source for name, field in release.fields().items()}
    assert sources == {
        "version": "ZDD_RELEASE_VERSION",
        "build": "argument",
        "branch": "zdd.toml",
        "environment": "ZDD_ENVIRONMENT",
        "commit": "unknown",
        "deployment": "unknown",
    }


@pytest.mark.parametrize(
    ("field", "variable"), [(field, name) for field, names in PLATFORM_VARIABLES.items() for name in names]
)
def test_every_platform_variable_is_read(tmp_path, field, variable):
    release = detect(tmp_path, environ={variable: SHA})
    assert (getattr(release, field).value, getattr(release, field).source) == (SHA, variable)


def test_there_are_as_many_variables_as_promised_and_none_twice():
    assert len(PLATFORM_VARIABLES["commit"]) == 45
    assert len(PLATFORM_VARIABLES["build"]) == 11
    every = [name for names in PLATFORM_VARIABLES.values() for name in names]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("variable", ["K_REVISION", "GAE_DEPLOYMENT_ID"])
def test_a_platform_revision_is_a_deployment_never_a_commit(tmp_path, variable):
    release = detect(tmp_path, environ={variable: "shop-00042-abc"})
    assert release.commit.value is None
    assert release.deployment.value == "shop-00042-abc"
    assert release.label == "shop-00042-abc"


def test_two_deployments_of_a_platform_that_says_nothing_else_have_two_ids(tmp_path):
    ids = {detect(tmp_path, environ={"K_REVISION": name}).id for name in ("shop-1", "shop-2")}
    assert len(ids) == 2


def test_a_generic_variable_never_hides_what_the_platform_says(tmp_path):
    assert (
        detect(tmp_path, environ={"GIT_COMMIT": OTHER, "RENDER_GIT_COMMIT": SHA}).commit.source == "RENDER_GIT_COMMIT"
    )


@pytest.mark.parametrize("text", ["main", "refs/heads/x", "0" * 40, "12345", SHA * 2, "deadbeez"])
def test_a_platform_variable_that_is_no_hash_is_refused_and_the_next_is_asked(tmp_path, text):
    release = detect(tmp_path, environ={"SOURCE_VERSION": text, "GIT_COMMIT": SHA})
    assert (release.commit.value, release.commit.source) == (SHA, "GIT_COMMIT")
    assert release.refused == ("commit from SOURCE_VERSION: not a commit hash",)


def test_an_explicit_commit_may_be_any_text_because_not_all_is_git(tmp_path):
    assert detect(tmp_path, settings=ReleaseSettings(commit="r4711")).commit.value == "r4711"


def test_a_commit_has_one_spelling(tmp_path):
    ids = {detect(tmp_path, settings=ReleaseSettings(commit=text)).id for text in (SHA, SHA.upper())}
    assert len(ids) == 1


def test_otel_values_are_percent_decoded_and_the_last_wins(tmp_path):
    text = "service.version=1,service.version=2%2E0%2Cbeta, vcs.ref.head.name = feature%2Fx ,broken,=,x=%ZZ"
    release = detect(tmp_path, environ={"OTEL_RESOURCE_ATTRIBUTES": text})
    assert release.version.value == "2.0,beta"
    assert release.branch.value == "feature/x"


@pytest.mark.parametrize("text", ["service.version=%FF%FE", "service.version=1%0D%0AX-Evil:%201", "x" * 70_000])
def test_hostile_otel_values_are_refused(tmp_path, text):
    release = detect(tmp_path, environ={"OTEL_RESOURCE_ATTRIBUTES": text})
    assert release.version.value is None
    assert len(release.refused) == 1


def test_the_environment_is_the_settings_one_and_a_difference_is_noted(tmp_path):
    release = detect(tmp_path, environ={"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=qa"})
    assert release.environment.value == "production"
    assert "differs from the settings" in release.refused[0]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"x"', "[" * 50_000, json.dumps({"version": "x" * 70_000}), "\ufeff{}", '{"version": NaN}'],
)
def test_a_baked_file_that_is_garbage_is_noted_and_passed_over(tmp_path, content):
    bake(tmp_path, content)
    release = detect(tmp_path, environ={"GITHUB_SHA": SHA})
    assert release.commit.source == "GITHUB_SHA"
    assert len(release.refused) == 1
    assert release.refused[0].startswith("release.json: ")


def test_a_baked_file_keeps_its_good_fields_and_unknown_ones_do_no_harm(tmp_path):
    bake(tmp_path, {"format": 9, "version": {"a": 1}, "commit": SHA, "build": 512, "later": [1]})
    release = detect(tmp_path)
    assert (release.version.value, release.commit.value, release.build.value) == (None, SHA, "512")
    assert release.refused == ("version from release.json: not a text",)


def test_a_directory_or_an_unreadable_path_is_no_baked_file(tmp_path):
    tmp_path.joinpath("release.json").mkdir()
    assert detect(tmp_path).refused == ()


@given(value=st.text(max_size=MAX_VALUE + 50))
def test_no_value_crashes_and_what_is_kept_can_go_into_a_header(value):
    release = detect_release(
        ReleaseSettings(version=value, commit=value, build=value, deployment=value, branch=value),
        value,
        environ={"OTEL_RESOURCE_ATTRIBUTES": value, "GIT_COMMIT": value},
        directory=Path("/nonexistent"),
    )
    for name, kept in release.values().items():
        assert kept is None or (kept.isprintable() and 0 < len(kept) <= MAX_VALUE)
        assert kept is None or name == "branch" or kept.isascii()
    assert release.label.isascii()
    assert release.id.isalnum()
    assert not any(len(value) > 9 and value in sentence for sentence in release.refused)


def test_a_package_that_is_not_installed_says_nothing(tmp_path):
    assert detect(tmp_path, distribution="no-such-distribution-zdd").version.value is None
    assert detect(tmp_path, settings=ReleaseSettings(distribution="msgspec")).version.value


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"version": "1.4.2", "commit": SHA}, "1.4.2+0123456"),
        ({"version": "1.4.2+local", "commit": SHA}, "1.4.2+local.0123456"),
        ({"version": "1.4.2"}, "1.4.2"),
        ({"commit": SHA}, "0123456"),
        ({"build": "512"}, "build-512"),
    ],
)
def test_labels(tmp_path, values, label):
    assert detect(tmp_path, settings=ReleaseSettings(**values)).label == label


def test_the_id_is_stable_and_depends_on_version_commit_and_build_alone(tmp_path):
    def id_of(**values):
        return detect(tmp_path, settings=ReleaseSettings(**values)).id

    assert id_of(version="1", commit=SHA, build="2") == "c52dfc5b4863"
    assert id_of(version="1") == id_of(version="1", branch="x", deployment="y")
    assert len({id_of(version="1"), id_of(commit="1"), id_of(build="1"), id_of(version="1", build="1")}) == 4


def test_attributes_have_their_opentelemetry_names(tmp_path):
    values = {"version": "1", "commit": SHA, "build": "2", "branch": "main", "deployment": "d"}
    assert detect(tmp_path, settings=ReleaseSettings(**values)).attributes() == {
        "service.version": "1",
        "vcs.ref.head.revision": SHA,
        "cicd.pipeline.run.id": "2",
        "vcs.ref.head.name": "main",
        "deployment.id": "d",
        "deployment.environment.name": "production",
    }
    assert set(FIELDS) == {*values, "environment"}


def test_detection_takes_less_than_a_millisecond_of_cpu(tmp_path):
    bake(tmp_path, {"build": 1})
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.version=1", **{f"NAME_{n}": "x" for n in range(200)}}
    rounds = []
    for _ in range(20):
        start = time.process_time()
        detect(tmp_path, environ=environ)
        rounds.append(time.process_time() - start)
    assert min(rounds) < 0.001
