"""Which environment variable of which platform says what. Data only.

Git hosts first, then named CI systems and hosting platforms, generic names last, so that a generic
``GIT_COMMIT`` never hides what the platform itself says (the order of sentry-javascript, which knows 40).
``K_REVISION`` and ``GAE_DEPLOYMENT_ID`` are deployments, not commits.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PLATFORM_VARIABLES"]

_COMMIT = (
    "GITHUB_SHA",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA",  # GitLab, merge request
    "CI_COMMIT_SHA",
    "CI_BUILD_REF",  # GitLab before 9.0
    "BITBUCKET_COMMIT",
    "APPVEYOR_PULL_REQUEST_HEAD_COMMIT",
    "APPVEYOR_REPO_COMMIT",
    "CODEBUILD_RESOLVED_SOURCE_VERSION",
    "AWS_COMMIT_ID",  # Amplify
    "BUILD_SOURCEVERSION",  # Azure Pipelines
    "GIT_CLONE_COMMIT_HASH",  # Bitrise
    "BUDDY_EXECUTION_REVISION",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "CIRRUS_CHANGE_IN_REPO",
    "CF_REVISION",  # Codefresh
    "CM_COMMIT",  # Codemagic
    "CF_PAGES_COMMIT_SHA",  # Cloudflare Pages
    "DRONE_COMMIT_SHA",
    "FC_GIT_COMMIT_SHA",  # Flightcontrol
    "HEROKU_TEST_RUN_COMMIT_VERSION",
    "HEROKU_BUILD_COMMIT",
    "HEROKU_SLUG_COMMIT",
    "KOYEB_GIT_SHA",
    "RAILWAY_GIT_COMMIT_SHA",
    "RENDER_GIT_COMMIT",
    "SEMAPHORE_GIT_SHA",
    "TRAVIS_PULL_REQUEST_SHA",
    "TRAVIS_COMMIT",
    "VERCEL_GIT_COMMIT_SHA",
    "VERCEL_GITHUB_COMMIT_SHA",
    "VERCEL_GITLAB_COMMIT_SHA",
    "VERCEL_BITBUCKET_COMMIT_SHA",
    "ZEIT_GITHUB_COMMIT_SHA",
    "ZEIT_GITLAB_COMMIT_SHA",
    "ZEIT_BITBUCKET_COMMIT_SHA",
    "CI_COMMIT_ID",
    "SOURCE_COMMIT",
    "SOURCE_VERSION",
    "GIT_COMMIT",
    "GIT_REV",  # Dokku
    "GIT_SHA",
    "COMMIT_SHA",  # Cloud Build
    "COMMIT_REF",  # Netlify
    "BUILD_VCS_NUMBER",  # TeamCity
)

_BUILD = (
    "GITHUB_RUN_NUMBER",
    "CI_PIPELINE_IID",
    "BITBUCKET_BUILD_NUMBER",
    "BUILD_BUILDNUMBER",
    "BUILDKITE_BUILD_NUMBER",
    "CIRCLE_BUILD_NUM",
    "CODEBUILD_BUILD_NUMBER",
    "DRONE_BUILD_NUMBER",
    "TRAVIS_BUILD_NUMBER",
    "HEROKU_RELEASE_VERSION",
    "BUILD_NUMBER",  # Jenkins, TeamCity
)

_BRANCH = (
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_COMMIT_REF_NAME",
    "BITBUCKET_BRANCH",
    "APPVEYOR_REPO_BRANCH",
    "BUILD_SOURCEBRANCHNAME",
    "BUILDKITE_BRANCH",
    "CIRCLE_BRANCH",
    "CIRRUS_BRANCH",
    "CF_PAGES_BRANCH",
    "DRONE_BRANCH",
    "KOYEB_GIT_BRANCH",
    "RAILWAY_GIT_BRANCH",
    "RENDER_GIT_BRANCH",
    "SEMAPHORE_GIT_BRANCH",
    "TRAVIS_BRANCH",
    "VERCEL_GIT_COMMIT_REF",
    "GIT_BRANCH",
    "BRANCH_NAME",
)

_DEPLOYMENT = (
    "K_REVISION",  # Cloud Run, Knative
    "GAE_DEPLOYMENT_ID",
    "CONTAINER_APP_REVISION",  # Azure Container Apps
    "RAILWAY_DEPLOYMENT_ID",
    "VERCEL_DEPLOYMENT_ID",
    "FLY_MACHINE_VERSION",
    "DEPLOY_ID",  # Netlify
)

PLATFORM_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "commit": _COMMIT,
    "build": _BUILD,
    "branch": _BRANCH,
    "deployment": _DEPLOYMENT,
}
"""For each field the variables that may say it, the most trustworthy first."""
