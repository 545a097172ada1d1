"""Django's commands, and zdd's: ``python docs/examples/shop_django/manage.py zdd explain``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_django.settings")
    execute_from_command_line(sys.argv)
