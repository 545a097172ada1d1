"""What users can import, as text: ``make api`` writes public_names.txt anew, a test compares it."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SNAPSHOT = Path("tests/house/public_names.txt")
FACES = (
    "zdd_sdk",
    "zdd_sdk.errors",
    "zdd_sdk.fleet",
    "zdd_sdk.http",
    "zdd_sdk.lifecycle",
    "zdd_sdk.rehearsal",
    "zdd_sdk.release",
    "zdd_sdk.sessions",
    "zdd_sdk.settings",
    "zdd_sdk.store",
    "zdd_sdk.testing",
    "zdd_sdk.web",
    "zdd_django.middleware",
    "zdd_django.sessions",
    "zdd_fastapi",
    "zdd_flask",
    "zdd_sqlalchemy",
)


def render(faces: tuple[str, ...] = FACES) -> str:
    """Return one line per public name and member: its kind, parameters and defaults."""
    return "\n".join(line for face in faces for line in _face(face)) + "\n"


def _face(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    for public in sorted(module.__all__):
        yield from _described(f"{name}.{public}", getattr(module, public))


def _described(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"class {path}({bases}){_parameters(value)}"
        for member in sorted(vars(value)):
            if not member.startswith("_"):
                yield from _member(f"{path}.{member}", inspect.getattr_static(value, member))
    elif callable(value):
        yield f"def {path}{_parameters(value)}"
    else:
        yield f"{path}: {type(value).__name__}"


def _member(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if inspect.iscoroutinefunction(value):
        yield f"  async def {path}{_parameters(value)}"
    elif inspect.isfunction(value):
        yield f"  def {path}{_parameters(value)}"
    else:
        yield f"  {path}: attribute"


def _parameters(value: Any) -> str:
    if inspect.isclass(value) and issubclass(value, (enum.Enum, BaseException)) and "__init__" not in vars(value):
        return ""  # inherited from Python, whose releases disagree
    try:
        found = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    return f"({', '.join(_parameter(one) for one in found)})"


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    kind = {one.KEYWORD_ONLY: " (keyword)", one.POSITIONAL_ONLY: " (positional)"}.get(one.kind, "")
    return f"{stars}{one.name}{'' if one.default is one.empty else '=…'}{kind}"


if __name__ == "__main__":
    SNAPSHOT.write_text(render(), encoding="utf-8")
    print(f"written: {SNAPSHOT}")
