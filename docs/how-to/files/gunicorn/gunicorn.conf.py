"""gunicorn's configuration for the shop: the first line is what makes it drain."""

from zdd_sdk.lifecycle.servers.gunicorn import on_starting  # noqa: F401 — gunicorn calls its hook of this name

bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = 2
threads = 8
keepalive = 75
