"""Workers and deliverers, as their own tests have them."""

from __future__ import annotations

from tests.delivery.conftest import deliver, receive
from tests.worker.conftest import deploy

__all__ = ["deliver", "deploy", "receive"]
