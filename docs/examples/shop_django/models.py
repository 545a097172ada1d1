"""Customers: known by their name alone, kept in no table."""

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
