"""Customers: known by their name alone, kept in no table. Orders."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser
from django.db import models


class Customer(AbstractBaseUser):
    """Whoever says so; a real shop has a password, and a row."""

    name: models.CharField[str, str] = models.CharField(max_length=64, primary_key=True)
    last_login = None  # pyright: ignore[reportAssignmentType] - nothing to write at a login

    USERNAME_FIELD = "name"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta(AbstractBaseUser.Meta):
        """No table."""

        managed = False


class Order(models.Model):
    """One order; the total is in cents.

    Its reference is not unique: an order placed twice must show up in the audit.
    """

    reference: models.CharField[str, str] = models.CharField(max_length=64)
    customer: models.CharField[str, str] = models.CharField(max_length=64, db_index=True)
    total: models.IntegerField[int, int] = models.IntegerField()

    objects: ClassVar[models.Manager[Order]] = models.Manager()

    class Meta:
        """As the other shops have it."""

        db_table = "orders"
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.reference

    def shown(self) -> dict[str, str | int]:
        """Return it as JSON."""
        return {"id": self.pk, "reference": self.reference, "customer": self.customer, "total": self.total}
