"""What Django has to know of the test suite's database servers."""

from __future__ import annotations

import sys
from typing import Any

from tests.databases import Server

__all__ = ["described", "use_pymysql"]

BACKENDS = {"postgresql": "django.db.backends.postgresql", "mariadb": "django.db.backends.mysql"}


def described(server: Server) -> dict[str, Any]:
    """Return an entry of ``DATABASES``."""
    where = {"HOST": "127.0.0.1", "PORT": server.port, "USER": "zdd", "PASSWORD": "zdd", "NAME": "zdd"}
    return {"ENGINE": BACKENDS[server.kind], **where}


def use_pymysql() -> None:
    """Let Django's MySQL backend run over PyMySQL, which the tests have; it asks for the version of another driver."""
    if "MySQLdb" not in sys.modules:
        import pymysql

        pymysql.version_info = (2, 2, 8, "final", 0)
        pymysql.install_as_MySQLdb()
