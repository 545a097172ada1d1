"""A real deployment, run under load before the real one: ``zdd rehearse``."""
