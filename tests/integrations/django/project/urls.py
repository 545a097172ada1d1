"""``/<name>`` is the function, ``/a/<name>`` the coroutine."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from tests.integrations.django.project import api, views

router = SimpleRouter()
router.register("orders", api.Orders, basename="order")

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", include("zdd_django.urls")),
    path("api/cart/", api.Cart.as_view()),
    path("api/", include(router.urls)),
    *(path(name, getattr(views, name)) for name in views.NAMES),
    *(path(f"a/{name}", getattr(views, f"a{name}")) for name in views.NAMES),
]
