"""What ``manage.py test`` runs in `test_test_runners`."""

from __future__ import annotations

import time

from django.test import SimpleTestCase

from zdd_django import zdd


class Requests(SimpleTestCase):
    def test_requests_are_served_and_begin_no_pulse(self) -> None:
        self.assertEqual(self.client.get("/readyz").status_code, 200)  # noqa: PT009 - Django's runner knows no assert
        time.sleep(0.5)
        print(f"role={zdd.fleet.role}")
