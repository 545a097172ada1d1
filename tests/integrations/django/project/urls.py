"""``/<name>`` is the function, ``/a/<name>`` the coroutine."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from tests.integrations.django.project import api, payments, views

router = SimpleRouter()
router.register("orders", api.Orders, basename="order")
router.register("rests", payments.Rests, basename="rest")

PAYMENTS = (
    "function", "stateless", "decorated", "elsewhere", "wrong", "unguarded", "session", "coroutine", "rest_function",
    "repeating", "unsafe",
)  # fmt: skip

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", include("zdd_django.urls")),
    path("api/cart/", api.Cart.as_view()),
    path("api/", include(router.urls)),
    path("pay/generic/<name>", payments.Generic.as_view()),
    path("pay/generic-coroutine", payments.GenericCoroutine.as_view()),
    path("paid", payments.paid),
    path("pay/rest", payments.Rest.as_view()),
    *(path(f"pay/{name.replace('_', '-')}", getattr(payments, name)) for name in PAYMENTS),
    *(path(name, getattr(views, name)) for name in views.NAMES),
    *(path(f"a/{name}", getattr(views, f"a{name}")) for name in views.NAMES),
]
