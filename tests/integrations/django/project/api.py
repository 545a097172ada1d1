"""Django REST framework: a view and a viewset that know their user by the session."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet


class Cart(APIView):
    authentication_classes = (SessionAuthentication,)

    def get(self, request: Request) -> Response:
        return Response({"cart": request.session.get("cart", [])})

    def post(self, request: Request) -> Response:
        request.session.setdefault("cart", []).append(request.data["item"])
        request.session.modified = True
        return Response({"cart": request.session["cart"]}, status=201)


class Orders(ViewSet):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    def list(self, request: Request) -> Response:
        return Response({"user": request.user.get_username()})

    def retrieve(self, request: Request, pk: Any = None) -> Response:
        return Response({"user": request.user.get_username(), "order": pk})
