"""A small shop on Django whose deployments nobody notices."""
