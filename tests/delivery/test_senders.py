"""Files and Apprise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from rtcdp.delivery.attempts import Verdict
from rtcdp.delivery.destinations import Destination
from rtcdp.delivery.facts import RECORD, Facts, compiled
from rtcdp.delivery.files import FileSender
from rtcdp.delivery.notifications import NotificationSender
from rtcdp.rules.expressions.parsing import parse
from tests.delivery.conftest import Receive
from tests.delivery.test_webhooks import delivery


def test_half_a_line_of_a_crash_is_cut_off_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "out.ndjson"
    path.parent.mkdir()
    path.write_bytes(b'{"id":"old"}\n{"id":"ha' + b"x" * 100_000)

    async def run() -> None:
        sender = FileSender(Destination("f", "file", (str(path),)))
        found = await asyncio.gather(*(sender.attempt(delivery(id=f"m{n}")) for n in range(100)))
        assert {one.verdict for one in found} == {Verdict.DELIVERED}
        await sender.close()

    asyncio.run(run())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["old", *(f"m{n}" for n in range(100))]
    assert lines[1]["body"] == {"a": 1}


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    async def run() -> None:
        sender = FileSender(Destination("f", "file", (str(tmp_path / "file" / "out.ndjson"),)))
        found = await sender.attempt(delivery())
        assert (found.verdict, found.alive) == (Verdict.AGAIN, False)
        await sender.close()

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a service of Apprise imports it
def test_apprise_sends_and_says_what_it_cannot(receive: Receive) -> None:
    receiver = receive()
    address = receiver.url.replace("http://", "json://") + "/"

    async def attempt(body: str, where: str = address, slots: list[str] | None = None) -> Verdict:
        sender = NotificationSender(Destination("n", "apprise", (where, lambda _, facts: None) if slots else (where,)))
        found = await sender.attempt(delivery(body=body, slots=slots or []))
        await sender.close()
        return found.verdict

    assert asyncio.run(attempt('{"title":"购物车","body":"hello"}', slots=["ann%40example.com"])) is Verdict.DELIVERED
    sent = json.loads(receiver.requests[0].body)
    assert (sent["title"], sent["message"]) == ("购物车", "hello")
    assert receiver.requests[0].path == "/ann@example.com"
    assert asyncio.run(attempt('{"text":"x"}')) is Verdict.REFUSED
    assert asyncio.run(attempt('{"body":"x"}', "nothing://")) is Verdict.REFUSED
    receiver.answer = lambda request: (500, {})
    assert asyncio.run(attempt('{"body":"x"}')) is Verdict.AGAIN


def test_a_value_cannot_add_another_address() -> None:
    """The control: for a webhook the same value is escaped, and stays in its place."""
    facts = Facts({}, {"payload": {"email": "ann@example.com,bob@example.com"}})
    read = compiled(parse("payload.email", RECORD))
    assert Destination("n", "apprise", ("mailto://x?to=", read)).slots(facts) == [""]
    assert Destination("n", "url", ("https://x/", read)).slots(facts) == ["ann%40example.com%2Cbob%40example.com"]
    one = Facts({}, {"payload": {"email": "ann+1@example.com"}})
    assert Destination("n", "apprise", ("mailto://x?to=", read)).slots(one) == ["ann%2B1%40example.com"]
