"""For uvicorn, hypercorn, granian, and gunicorn's asgi worker."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_django.settings")
application = get_asgi_application()
