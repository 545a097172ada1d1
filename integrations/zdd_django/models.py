"""The table of guard rows: keys of idempotent operations, committed together with their effect."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["TABLE", "Guard", "NameField"]

TABLE = "zdd_guard"


class NameField(models.CharField):  # type: ignore[type-arg]
    """A name in base64url, always of the same length, and compared byte by byte as MariaDB would not."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type; for a ``char`` Django makes no second index on PostgreSQL, for ``LIKE``."""
        exact = " CHARACTER SET ascii COLLATE ascii_bin" if connection.vendor == "mysql" else ""
        return f"char({self.max_length}){exact}"


class Guard(models.Model):
    """One key: see `zdd_sdk.idempotency.GuardRow`.

    Attributes:
        name: of the record in Redis, too.
        generation: fence counter of the claim under which it was written.
        fingerprint: candidates, space-joined.
        operation: name of the operation.
        release: label of the release that wrote it.
        created: seconds of the Unix epoch.
        expires: the same; from then on it counts as absent.
        answer: the stored answer's bytes; null while there is none.
    """

    name: Any = NameField(max_length=43, primary_key=True)
    generation: Any = models.BigIntegerField()
    fingerprint: Any = models.TextField()
    operation: Any = models.CharField(max_length=255)
    release: Any = models.CharField(max_length=255)
    created: Any = models.BigIntegerField()
    expires: Any = models.BigIntegerField(db_index=True)
    answer: Any = models.BinaryField(null=True)

    class Meta:
        """Django's options of the model."""

        app_label = "zdd_django"
        db_table = TABLE
        verbose_name = "guard row"

    objects: Any = models.Manager()

    def __str__(self) -> str:
        return f"{self.operation} {self.name}"
