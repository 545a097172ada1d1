"""A small shop on FastAPI whose deployments nobody notices."""
