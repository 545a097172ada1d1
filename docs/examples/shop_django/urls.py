"""Where what is."""

from __future__ import annotations

from django.urls import path

from shop_django import views

urlpatterns = [
    path("", views.greet),
    path("products", views.list_products),
    path("login", views.log_in),
    path("logout", views.log_out),
    path("me", views.show_me),
    path("cart/items", views.set_item),
    path("cart", views.show_cart),
    path("orders", views.orders),
    path("audit", views.audit),
]
