"""Views that use the session in every way, sync and async."""
from django.urls import path

urlpatterns: list = []
