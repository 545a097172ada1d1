"""Settings of the project the tests run in; each test names its own Redis in ZDD."""

import json
import os

SECRET_KEY = "tests-only-" + "k" * 50
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1", "shop.example"]
ROOT_URLCONF = "tests.integrations.django.project.urls"
INSTALLED_APPS = [
    "zdd_django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "rest_framework",
]
MIDDLEWARE = [
    "zdd_django.middleware.ZddMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "zdd_django.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "zdd_django.middleware.CaptureMiddleware",
]
SESSION_ENGINE = "zdd_django.sessions"
ZDD = {
    "service": "project",
    "environment": "test",
    "secret": ("s" * 40,),
    "redis_url": os.environ.get("PROJECT_REDIS", "off"),
}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("PROJECT_DB", ":memory:")}
DATABASES = {
    "default": json.loads(os.environ.get("PROJECT_DATABASE", "null")) or SQLITE,
    "orders": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LOGGING_CONFIG = None
