"""A small shop on Flask whose deployments nobody notices."""
