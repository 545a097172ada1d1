"""What stands between users and instances."""

from zdd_sdk.rehearsal.routers.base import Backend, Router
from zdd_sdk.rehearsal.routers.kube import KubeRouter
from zdd_sdk.rehearsal.routers.nginx import NginxRouter, StaticNginxRouter

__all__ = ["Backend", "KubeRouter", "NginxRouter", "Router", "StaticNginxRouter"]
