"""With encryption what waits for delivery and what was given up is sealed: nobody reads it once the person is erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtcdp.delivery.dead import Choice, list_dead, replay
from rtcdp.delivery.deliveries import decode
from rtcdp.dlq import messages
from rtcdp.monitoring.metrics import now_ms
from rtcdp.privacy.erasure import _remains
from rtcdp.privacy.export import _deliveries, _undelivered
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.parcels import shared_sealer, unpacked
from tests.delivery.conftest import Deliver, Delivering, Inside, Receive, Request, change, trigger
from tests.worker.conftest import wait_for
from tests.worker.test_encryption import encrypted

CANARY = "canary-51c9"
OUTLETS = """
destinations:
  crm:  {{url: "{url}/crm", retries: [100ms, 1h]}}
  once: {{url: "{url}/once", retries: []}}
subscriptions:
  carts: {{to: crm, triggers: cart}}
  gone:  {{to: crm, erasures: "*"}}
  hello: {{to: once, triggers: hello}}
"""


def clear(shop: Delivering, topic: str) -> list[bytes]:
    """Records in which the canary can be read."""
    parts = [(message.key() or b"") + (message.value() or b"") for message in messages(shop.settings, topic)]
    return [part for part in parts if CANARY.encode() in part]


def waiting(shop: Delivering) -> set[str]:
    """Names of people and kinds of what waits, opened."""
    newest = {message.key(): message.value() for message in messages(shop.settings, shop.settings.deliveries)}
    values = [value for key, value in newest.items() if value and not (key or b"").startswith(b"~")]
    opened = [decode(value) for value in unpacked(values, shared_sealer(shop.settings)) if value is not None]
    return {f"{one.profile.partition(':')[2]} {one.kind}" for one in opened}


def again(shop: Delivering) -> None:
    assert shop.inside is not None
    shop.inside.stop()
    shop.inside = Inside(shop.settings)
    wait_for(shop.inside.ready, 40.0, "readiness")


@pytest.mark.parametrize("sealed", [True, False])
def test_what_waits_is_sealed_and_goes_with_its_person(
    deliver: Deliver, receive: Receive, tmp_path: Path, *, sealed: bool
) -> None:
    answers: dict[str, Any] = {"/crm": 500, "/once": 500}
    receiver = receive(answer=lambda request: (answers[request.path], {}))
    shop = deliver(OUTLETS.format(url=receiver.url), **(encrypted(tmp_path / "keys") if sealed else {}))
    sealer = sealer_of(shop.settings, 2, create=True)
    shop.run()
    names = ("ann", "bob")
    shop.send(*(trigger(place, user=f"{CANARY}-{name}", payload={"note": CANARY}) for place, name in enumerate(names)))
    shop.send(trigger(7, "hello", user=f"{CANARY}-ann"))
    told = change(9, "erased", profile=f"main/user_id:{CANARY}-ann", new=[f"main/user_id:{CANARY}-ann"])
    shop.send(told, topic=shop.settings.profile_changes)
    everything = {f"{CANARY}-ann trigger", f"{CANARY}-bob trigger", f"{CANARY}-ann erased"}
    wait_for(lambda: waiting(shop) == everything, what="what waits")
    wait_for(lambda: list(list_dead(shop.settings, Choice())), what="what was given up")
    key = f"main/user_id:{CANARY}-ann"
    assert {row["record"]["kind"] for row in _deliveries(shop.settings, [key])} == {"trigger", "erased"}
    assert [row["record"]["reason"] for row in _undelivered(shop.settings, [key])] == ["exhausted"]

    answers["/once"] = 200
    assert replay(shop.settings, Choice()) == 1
    wait_for(lambda: [one.path for one in receiver.requests].count("/once") == 2, what="what was given up, again")
    for topic in (shop.settings.deliveries_dlq, shop.settings.delivery_commands):
        assert bool(clear(shop, topic)) is not sealed, topic
    found = clear(shop, shop.settings.deliveries)
    assert any(b'"kind":"erased"' in one for one in found), "a notice has to be readable when the person's key is gone"
    assert any(b'"kind":"trigger"' in one for one in found) is not sealed

    remains = {one.topic: one.until for one in _remains(shop.settings, 0, encrypted=sealed)}
    assert remains[shop.settings.deliveries] == "1970-01-01T01:10:00.000Z", "compacted: an hour and a segment"
    assert remains[shop.settings.deliveries_dlq] < "1970-01-30"

    if sealer is not None:  # as an erasure that comes while nobody delivers
        name = sealer.name(key.encode()).name
        sealer.store.retire([name])
        (ring,) = sealer.store.find([name])
        sealer.store.destroy([(name, one) for one in ring.retired], now_ms())
        sealer.forget([name])
        shared = shared_sealer(shop.settings)
        assert shared is not None
        shared.forget([name])
        again(shop)
        wait_for(lambda: waiting(shop) == everything - {f"{CANARY}-ann trigger"}, what="what was hers gone")
        newest = {message.key(): message.value() for message in messages(shop.settings, shop.settings.deliveries)}
        assert sum(value is None for one, value in newest.items() if one and one.startswith(b"id0")) == 1
        assert not list(list_dead(shop.settings, Choice()))


def test_what_was_sealed_is_delivered_by_the_next_deliverer(deliver: Deliver, receive: Receive, tmp_path: Path) -> None:
    fails = {"left": 1}

    def answer(_: Request) -> tuple[int, dict[str, str]]:
        fails["left"] -= 1
        return (503, {"Retry-After": "2"}) if fails["left"] >= 0 else (200, {})

    receiver = receive(answer=answer)
    shop = deliver(OUTLETS.format(url=receiver.url), **encrypted(tmp_path / "keys"))
    sealer_of(shop.settings, 2, create=True)
    shop.run()
    shop.send(trigger(1, user=CANARY, payload={"note": "汉字"}))
    wait_for(lambda: receiver.requests, what="the first attempt")
    again(shop)
    wait_for(lambda: len(receiver.requests) == 2, what="the second attempt")
    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)
    wait_for(lambda: not waiting(shop), what="its end")
