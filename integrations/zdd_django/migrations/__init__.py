"""Migrations of `zdd_django`."""
