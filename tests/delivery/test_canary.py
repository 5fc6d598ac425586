"""What is inside a record never reaches a log: the whole process, at the most talkative level, with every kind of bad input."""

from __future__ import annotations

import json

import pytest

from tests.delivery.conftest import Deliver, Receive, change, trigger
from tests.worker.conftest import wait_for
from tests.worker.test_canary import CANARY, logged


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_deliverer_logs_nothing_of_what_it_sends_nor_its_secrets(deliver: Deliver, receive: Receive) -> None:
    receiver = receive(answer=lambda request: (500, {}), content=CANARY.encode())
    shop = deliver(
        f"""
destinations:
  broken: {{url: "{receiver.url}/${{file:secret}}/{{user_id}}", headers: {{X: "${{file:secret}}"}}, retries: [1ms]}}
  nowhere: {{url: "http://127.0.0.1:1/${{file:secret}}", retries: [1ms]}}
  mail: {{apprise: "jsons://user:${{file:secret}}@127.0.0.1:1/", retries: [1ms]}}
subscriptions:
  a: {{to: broken, triggers: "*"}}
  b: {{to: nowhere, triggers: "*", segments: "*"}}
  c: {{to: mail, triggers: "*", body: {{body: "{{payload.text}}"}}}}
""",
        log_level="debug",
    )
    (shop.folder / "secret").write_text("s3cretcanary")
    shop.start()
    shop.send(trigger(1, user=CANARY, payload={"text": CANARY}), json.dumps({"type": "rtcdp.trigger", "id": CANARY}).encode())
    shop.send(change(1, name=CANARY, new=CANARY), topic=shop.settings.profile_changes)
    wait_for(lambda: len(shop.records(shop.settings.deliveries_dlq)) == 4, what="all given up")
    assert shop.end() == 0
    text = logged(shop.log)
    assert CANARY not in text
    assert "s3cretcanary" not in text
    assert "a record cannot be read" in text
