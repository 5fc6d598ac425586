"""What Faust takes for its driver: the entry point `faust.transports` names it `rtcdp`."""

from __future__ import annotations

from typing import ClassVar

from faust.transport.drivers import aiokafka as driver

from rtcdp.transport.consumer import Consumer


class Transport(driver.Transport):
    """Faust's aiokafka transport with `Consumer` in place of its own."""

    Consumer: ClassVar[type[driver.Consumer]] = Consumer
