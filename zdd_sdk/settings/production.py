"""Is this production? Where nothing says so, an embedded engine and a kept secret make the first minutes easy."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["production_marker"]

_DEVELOPMENT = frozenset({"development", "dev", "test", "testing", "local", "ci"})
_PLATFORMS = (
    "KUBERNETES_SERVICE_HOST",
    "ECS_CONTAINER_METADATA_URI_V4",
    "ECS_CONTAINER_METADATA_URI",
    "AWS_LAMBDA_FUNCTION_NAME",
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "GAE_APPLICATION",
    "CONTAINER_APP_NAME",
    "WEBSITE_SITE_NAME",
    "DYNO",
    "FLY_APP_NAME",
    "RENDER",
    "RAILWAY_ENVIRONMENT_NAME",
    "VCAP_APPLICATION",
    "NOMAD_ALLOC_ID",
)
"""Set by Kubernetes, ECS, Lambda, Cloud Run, App Engine, Azure, Heroku, Fly, Render, Railway, Cloud Foundry, Nomad."""


def production_marker(environment: str, environ: Mapping[str, str]) -> str | None:
    """Return what says that this is production, or ``None`` in development.

    Args:
        environment: name of the environment from the settings; anything but development, dev, test,
            testing, local and ci is production.
        environ: environment variables, searched for those that hosting platforms set.

    Returns:
        ``"environment=<name>"`` or the name of the variable, for a message.
    """
    if environment.lower() not in _DEVELOPMENT:
        return f"environment={environment}"
    return next((name for name in _PLATFORMS if environ.get(name)), None)
