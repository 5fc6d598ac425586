"""What the console shows of a real deliverer: figures, what was given up and made again, a destination turned on again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from rtcdp.delivery import standing
from rtcdp.monitoring.health import HealthServer
from rtcdp.serving.api.operations import Call
from rtcdp.serving.api.outgoing import DeadQuery, Outgoing, Resend
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import new_token
from tests.delivery.conftest import Deliver, Delivering, Receive, Receiver, trigger
from tests.worker.conftest import wait_for

YAML = """
destinations:
  crm: {{url: {url}/crm}}
  chat: {{url: {url}/chat}}
subscriptions:
  carts: {{to: crm, triggers: cart}}
  talks: {{to: chat, triggers: cart}}
"""


class Unmasked:
    """No token here has less than the scope `personal`, but one."""

    def key(self, key: str) -> str:
        return "~" + key[:4]


class Told:
    """A deliverer that has delivered to `crm`, and learned that `chat` is gone, and the API that looks at it."""

    def __init__(self, shop: Delivering, receiver: Receiver) -> None:
        assert shop.inside is not None
        self.shop, self.receiver = shop, receiver
        self.server = HealthServer("127.0.0.1", 0, shop.inside.deliverer.measures.registry, shop.inside.deliverer.health)
        self.place = f"localhost:{self.server.port}"
        settings = shop.settings.model_copy(update={"deliver_metrics": (self.place, "nowhere.invalid:9464")})
        self.outgoing = Outgoing(settings, Unmasked())  # type: ignore[arg-type]  # the one method that is used

    def ask(
        self, operation: str, /, body: Any = None, query: Any = None, tenant: str = "main", *scopes: str, **path: str
    ) -> Any:
        token, _ = new_token("test", ["letters:write", *(scopes or ["personal"])], [tenant])
        call = Call(path, query, body, token, "", {})
        found = next(one for one in self.outgoing.operations() if one.name == operation)
        answer = asyncio.run(found.handler(call))  # type: ignore[arg-type]  # handlers are coroutines
        assert isinstance(answer.body, bytes)
        return msgspec.json.decode(answer.body)

    def destination(self, name: str) -> dict[str, Any]:
        return next(one for one in self.ask("destinations")["destinations"] if one["name"] == name)


@pytest.fixture
def told(deliver: Deliver, receive: Receive) -> Iterator[Told]:
    receiver = receive(answer=lambda request: (410 if request.path == "/chat" else 200, {}))
    shop = deliver(YAML.format(url=receiver.url)).run()
    shop.send(trigger(1), trigger(2))
    found = Told(shop, receiver)
    wait_for(lambda: found.destination("crm")["ended"] == {"delivered": 2}, what="both deliveries")
    wait_for(lambda: found.destination("chat")["dead"] == {"gone": 2}, what="those that were given up")
    wait_for(lambda: found.ask("dead_deliveries", query=DeadQuery())["total"] == 2, what="their letters")
    yield found
    found.server.close()


def test_figures_and_what_is_done_about_them(told: Told) -> None:
    found = told.ask("destinations")
    assert (found["watched"], found["silent"]) == (True, ["nowhere.invalid:9464"])
    assert told.destination("crm") | {"mean_s": 0} == {
        "name": "crm", "state": "on", "waiting": 0, "ended": {"delivered": 2}, "attempts": {"delivered": 2},
        "dead": {}, "mean_s": 0,
    }  # fmt: skip
    assert told.destination("crm")["mean_s"] > 0
    wait_for(lambda: told.destination("chat")["state"] == "off", what="the mark")
    dead = told.ask("dead_deliveries", query=DeadQuery())
    assert (dead["total"], dead["counts"]) == (2, {"chat": {"gone": 2}})
    assert {one["profile"] for one in dead["deliveries"]} == {"main/user_id:u1", "main/user_id:u2"}
    with pytest.raises(Problem, match="no deliverer"):
        told.ask("enable", name="nobody")
    with pytest.raises(Problem, match="say which"):
        told.ask("resend", Resend())
    before = len(told.receiver.requests)
    told.receiver.answer = lambda request: (200, {})
    told.ask("enable", name="chat")
    wait_for(lambda: told.destination("chat")["state"] == "on", what="the destination")
    assert told.ask("resend", Resend(destination="chat", dry_run=True)) == {"sent": 2}
    assert told.ask("resend", Resend(id=dead["deliveries"][0]["id"])) == {"sent": 1}
    wait_for(lambda: told.destination("chat")["ended"].get("delivered") == 1, what="the delivery")
    assert [request.id for request in told.receiver.requests[before:]] == [dead["deliveries"][0]["id"]]


def test_who_may_see_what(told: Told) -> None:
    masked = told.ask("dead_deliveries", None, DeadQuery(), "main", "letters")
    assert {(one["id"], one["profile"]) for one in masked["deliveries"]} == {("", "~main")}
    assert told.ask("dead_deliveries", None, DeadQuery(), "eu")["total"] == 0
    assert told.ask("resend", Resend(all=True), None, "eu") == {"sent": 0}


def test_deliverers_are_taken_together() -> None:
    pages = [
        """rtcdp_deliveries_pending{destination="a"} 3.0
rtcdp_destination_held{destination="a"} 1.0
rtcdp_delivery_latency_seconds_sum{destination="a"} 2.0
rtcdp_delivery_latency_seconds_count{destination="a"} 4.0
rtcdp_deliveries_dead_total{destination="other",reason="gone"} 0.0
""",
        """rtcdp_deliveries_pending{destination="a"} 4.0
rtcdp_destination_held{destination="a"} 0.0
rtcdp_deliveries_total{destination="a",outcome="failed"} 1.0
""",
    ]
    (one,) = standing.together(pages)
    assert (one.state, one.waiting, one.mean_s, one.ended) == ("held", 7, 0.5, {"failed": 1})
