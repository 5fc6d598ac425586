"""A deliverer on a real Kafka with a real receiver, whose answer the path of the address chooses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from rtcdp.delivery.dead import Choice, enable, list_dead, replay
from rtcdp.times import timestamps
from rtcdp.times.timestamps import rfc3339
from tests.delivery.conftest import Delivering, Receiver, Request, cancel, change, trigger
from tests.worker.conftest import wait_for

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
DESTINATIONS = """
destinations:
  crm: {{url: {url}/ok, secrets: {secret}}}
  broken: {{url: {url}/500, retries: [300ms, 300ms, 300ms, 300ms, 300ms, 300ms, 300ms, 300ms]}}
  weak: {{url: {url}/500, retries: [10ms, 10ms]}}
  strict: {{url: {url}/422}}
  gone: {{url: {url}/410}}
  busy: {{url: {url}/429, retries: [1ms, 1ms], concurrency: 1}}
  slow: {{url: {url}/slow, concurrency: 1}}
  file: {{file: {folder}/out-%Y.ndjson}}
subscriptions:
  carts: {{to: crm, triggers: cart}}
  entries: {{to: crm, segments: buyers, where: kind == 'entered', body: {{user: "{{user_id}}", segment: "{{name}}"}}}}
  waits: {{to: broken, triggers: wait}}
  weak: {{to: weak, triggers: weak}}
  strict: {{to: strict, triggers: weak}}
  gone: {{to: gone, triggers: gone}}
  busy: {{to: busy, triggers: busy}}
  slow: {{to: slow, triggers: slow}}
  beside: {{to: crm, triggers: slow}}
  lines: {{to: file, triggers: cart}}
"""


class Shop(Delivering):
    """All tests of this file share one deployment: each has a destination or a name of a trigger of its own."""

    receiver: Receiver
    answers: dict[str, int]

    def at(self, path: str) -> list[Request]:
        return [request for request in self.receiver.requests if request.path == path]

    def ids(self, path: str) -> list[str]:
        return [request.id for request in self.at(path)]

    def told(self, *names: str) -> dict[str, dict]:
        """Outcome events of these subscriptions, by message id."""
        return {event["messageId"]: event for event in self.outcomes() if event["properties"]["subscription"] in names}


@pytest.fixture(scope="module")
def shop(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    answers: dict[str, int] = {}

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        if request.path == "/slow":
            time.sleep(0.5)
            return 200, {}
        if request.path == "/429" and sum(one.path == "/429" for one in receiver.requests) == 1:
            return 429, {"Retry-After": "2"}
        word = request.path.strip("/")
        return answers.get(word, int(word) if word.isdecimal() and word != "429" else 200), {}

    receiver = Receiver(answer=answer).start()
    folder = tmp_path_factory.mktemp("delivering")
    shop = Shop(kafka, folder, DESTINATIONS.format(url=receiver.url, secret=SECRET, folder=folder))
    shop.receiver, shop.answers = receiver, answers
    try:
        yield shop.run()
    finally:
        shop.close()
        receiver.stop()


def test_what_comes_is_signed_delivered_and_told(shop: Shop) -> None:
    shop.send(*(trigger(n, payload={"cart": n}) for n in range(20)), trigger(99, "other"), b"{no json")
    shop.send(change(1), change(2, "exited"), change(3, historical=True), topic=shop.settings.profile_changes)
    wait_for(lambda: len(shop.told("carts")) == 20 and len(shop.at("/ok")) == 21 and not shop.pending(), what="all")
    assert sorted(shop.ids("/ok")) == sorted([*(f"id{n}_carts" for n in range(20)), "ch1_entries"])
    for request in shop.at("/ok"):
        Webhook(SECRET).verify(request.body, request.headers)
    bodies = {request.id: json.loads(request.body) for request in shop.at("/ok")}
    assert bodies["ch1_entries"] == {"user": "u1", "segment": "buyers"}
    assert bodies["id7_carts"]["type"] == "trigger.cart"
    assert bodies["id7_carts"]["data"]["payload"] == {"cart": 7}
    told = shop.told("carts")
    assert set(told) == {f"id{n}_carts-delivered" for n in range(20)}
    assert told["id7_carts-delivered"]["userId"] == "u7"
    assert told["id7_carts-delivered"]["event"] == "Message Delivered"
    assert told["id7_carts-delivered"]["context"]["active"] is False
    assert shop.metric("rtcdp_delivery_unreadable_total") == 1
    assert shop.metric('rtcdp_deliveries_total{destination="crm",outcome="delivered"}') == 21
    lines = [json.loads(line) for file in shop.folder.glob("out-*.ndjson") for line in file.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"id{n}_lines" for n in range(20))


def test_expired_and_cancelled_are_not_sent(shop: Shop) -> None:
    """The controls: another trigger's cancellation, and one from before the trigger, withdraw nothing."""
    shop.receiver.requests.clear()
    shop.send(trigger(51, expires_at="2020-01-01T00:00:00Z"), trigger(52, user="ann"), cancel(99, "ann"))
    shop.send(trigger(53, user="bob"), cancel(2, "bob"), trigger(54, user="eve"), cancel(99, "eve", "other"))
    ends = {"id51_carts-expired", "id52_carts-cancelled", "id53_carts-delivered", "id54_carts-delivered"}
    wait_for(lambda: ends <= set(shop.told("carts")), what="four ends")
    assert sorted(shop.ids("/ok")) == ["id53_carts", "id54_carts"]


def test_what_waits_for_its_next_attempt_is_withdrawn(shop: Shop) -> None:
    soon = rfc3339(int(time.time() * 1_000) + 1_500)
    shop.send(trigger(1, "wait", user="ann"), trigger(2, "wait", expires_at=soon))
    wait_for(lambda: {"id1_waits", "id2_waits"} <= set(shop.ids("/500")), what="first attempts")
    shop.send(cancel(9, "ann"))
    wait_for(lambda: len(shop.told("waits")) == 2, what="two ends")
    assert set(shop.told("waits")) == {"id1_waits-cancelled", "id2_waits-expired"}
    assert not any("waits" in name for name in shop.pending())


def test_only_what_goes_by_a_channel_is_withdrawn_and_within_a_second(shop: Shop) -> None:
    waits = (trigger(number, "wait", user="zoe", channel=channel) for number, channel in ((61, "email"), (62, "push")))
    shop.send(*waits)
    wait_for(lambda: {"id61_waits", "id62_waits"} <= set(shop.ids("/500")), what="first attempts")
    began = time.time() * 1_000
    shop.send(cancel(99, "zoe", "wait", "email"))
    told = wait_for(lambda: shop.told("waits").get("id61_waits-cancelled"), what="the end")
    assert (timestamps.parse(told["timestamp"]) or 0) - began < 1_000
    assert told["properties"]["channel"] == "email"
    assert any("id62_waits" in name for name in shop.pending()), "what goes by another channel is still tried"
    shop.send(cancel(100, "zoe"))
    wait_for(lambda: "id62_waits-cancelled" in shop.told("waits"), what="the other end")


def test_what_is_given_up_is_kept_and_can_be_made_again(shop: Shop) -> None:
    def dead() -> dict[str, tuple[str, int]]:
        found = list_dead(shop.settings, Choice())
        return {one.delivery.id: (one.reason, one.delivery.attempts) for one in found if one.delivery.name == "weak"}

    shop.send(trigger(1, "weak"))
    wait_for(lambda: len(dead()) == 2, what="two dead letters")
    assert dead() == {"id1_strict": ("refused", 1), "id1_weak": ("exhausted", 3)}
    assert {event["event"] for event in shop.told("weak", "strict").values()} == {"Message Failed"}
    first = next(request.body for request in shop.at("/500") if request.id == "id1_weak")
    shop.receiver.requests.clear()
    shop.answers["500"] = 200
    assert replay(shop.settings, Choice(destination="weak", reason="exhausted")) == 1
    wait_for(lambda: shop.ids("/500") == ["id1_weak"], what="one more request")
    assert shop.at("/500")[0].body == first
    shop.answers.clear()


def test_gone_turns_a_destination_off_until_it_is_turned_on(shop: Shop) -> None:
    choice = Choice(destination="gone", reason="gone")
    shop.send(trigger(1, "gone"))
    wait_for(lambda: list(list_dead(shop.settings, choice)), what="a dead letter")
    shop.send(*(trigger(n, "gone") for n in range(2, 8)))
    wait_for(lambda: len(list(list_dead(shop.settings, choice))) == 7, what="more without an attempt")
    assert shop.ids("/410") == ["id1_gone"]
    shop.answers["410"] = 200
    enable(shop.settings, "gone")
    assert replay(shop.settings, Choice(destination="gone")) == 7
    wait_for(lambda: sorted(set(shop.ids("/410")[1:])) == [f"id{n}_gone" for n in range(1, 8)], what="all delivered")


def test_retry_after_holds_a_destination(shop: Shop) -> None:
    shop.send(trigger(1, "busy", user="ann"))
    wait_for(lambda: shop.at("/429"), what="the first attempt")
    shop.send(trigger(2, "busy", user="ann"))
    wait_for(lambda: len(shop.at("/429")) == 3, what="both delivered")
    first, *rest = shop.at("/429")
    assert rest[0].at - first.at >= 1.9
    assert first.body == next(one.body for one in rest if one.id == first.id)


def test_a_slow_destination_delays_no_other(shop: Shop) -> None:
    """The control is the slow destination itself: of the same records it has got a few when the other has all."""
    shop.send(*(trigger(n, "slow") for n in range(100, 150)))
    wait_for(lambda: sum("beside" in name for name in shop.ids("/ok")) == 50, 10.0, "all at the other")
    assert 0 < len(shop.ids("/slow")) < 40
    shop.send(*(cancel(999, f"u{n}") for n in range(100, 150)))
    wait_for(lambda: len(shop.told("slow")) == 50, what="the rest withdrawn")


def test_a_destination_that_is_off_says_so_in_metrics(shop: Shop) -> None:
    shop.answers.clear()
    shop.send(trigger(200, "gone"))
    wait_for(lambda: shop.metric('rtcdp_destination_held{destination="gone"}') == 2, what="held")
