"""What no project should have."""


class PickleSerializer:
    """Stands for any of them; never used."""
