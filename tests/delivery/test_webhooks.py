"""One attempt: what is sent, what an answer means, and which addresses are never reached."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from ipaddress import ip_network
from typing import Any

import pytest

from rtcdp.delivery.addresses import AllowedAddresses
from rtcdp.delivery.attempts import Attempt, Verdict
from rtcdp.delivery.deliveries import Delivery
from rtcdp.delivery.destinations import Destination
from rtcdp.delivery.facts import ANSWER, READER
from rtcdp.delivery.webhooks import WebhookSender, retry_after, session
from rtcdp.rules.compiling.interpreter import condition
from rtcdp.rules.expressions.parsing import parse
from tests.delivery.conftest import Receive, Receiver

LOCAL = AllowedAddresses([ip_network("127.0.0.0/8")])
PUBLIC = AllowedAddresses()


def delivery(**more: Any) -> Delivery:
    fields = {"id": "m_1", "subscription": "s", "destination": "d", "body": '{"a":1}', "profile": "main/user_id:u",
              "kind": "trigger", "name": "t", "seq": 1, "at": "", "made": 0}  # fmt: skip
    return Delivery(**{**fields, **more})


def destination(url: str, **more: Any) -> Destination:
    return Destination("d", "url", (url,), **more)


def answers(*hosts: str) -> Any:
    """A resolver with these answers for every name."""
    asked: list[str] = []

    async def lookup(host: str, port: int, family: int) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]

    lookup.asked = asked
    return lookup


def attempt(
    where: Destination, allowed: AllowedAddresses = LOCAL, lookup: Any = None, one: Delivery | None = None, times: int = 1
) -> list[Attempt]:
    async def run() -> list[Attempt]:
        async with session(allowed, *([lookup] if lookup else [])) as client:
            sender = WebhookSender(where, client, allowed, http=True)
            return [await sender.attempt(one or delivery()) for _ in range(times)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, Attempt(Verdict.DELIVERED)),
        (204, {}, Attempt(Verdict.DELIVERED)),
        (302, {"Location": "/other"}, Attempt(Verdict.AGAIN, "HTTP 302", alive=False)),
        (404, {}, Attempt(Verdict.AGAIN, "HTTP 404")),
        (410, {}, Attempt(Verdict.GONE, "HTTP 410")),
        (422, {}, Attempt(Verdict.REFUSED, "HTTP 422")),
        (429, {"Retry-After": "7"}, Attempt(Verdict.AGAIN, "HTTP 429", pause=7_000)),
        (500, {}, Attempt(Verdict.AGAIN, "HTTP 500", alive=False)),
        (503, {"Retry-After": "1"}, Attempt(Verdict.AGAIN, "HTTP 503", alive=False, pause=1_000)),
    ],
)
def test_what_an_answer_means(receive: Receive, status: int, headers: dict[str, str], expected: Attempt) -> None:
    receiver = receive(answer=lambda _: (status, headers), content=b"" if status == 204 else b"{}")
    assert attempt(destination(receiver.url + "/x")) == [expected]
    assert [request.path for request in receiver.requests] == ["/x"], "a redirect was followed"


def test_the_connection_is_kept_and_the_body_is_the_bodys_bytes(receive: Receive) -> None:
    receiver = receive()
    body = '{"text":"购物车 \\u0000 \u2028"}'
    found = attempt(destination(receiver.url + "/x"), one=delivery(body=body), times=3)
    assert [one.verdict for one in found] == [Verdict.DELIVERED] * 3
    assert {request.body for request in receiver.requests} == {body.encode()}
    assert "webhook-signature" not in receiver.requests[0].headers
    assert receiver.requests[0].headers["accept-encoding"] == "identity"


def test_accept_looks_into_the_answer(receive: Receive) -> None:
    receiver = receive(content=b'{"errcode": 93000}')
    where = destination(receiver.url + "/x", accept=condition(parse("answer.errcode == 0", ANSWER), READER))
    assert attempt(where)[0].verdict is Verdict.AGAIN
    receiver.content = b'{"errcode": 0}'
    assert attempt(where)[0].verdict is Verdict.DELIVERED
    receiver.content = b"no json"
    assert attempt(where)[0].verdict is Verdict.AGAIN


def test_robots_get_their_signatures_where_they_look_for_them(receive: Receive) -> None:
    receiver = receive()
    attempt(destination(receiver.url + "/x?access_token=t", secrets=(b"SEC",), sign="dingtalk"))
    attempt(destination(receiver.url + "/x", secrets=(b"SEC",), sign="feishu"))
    first, second = receiver.requests
    assert first.path.startswith("/x?access_token=t&timestamp=")
    assert first.body == b'{"a":1}'
    assert set(json.loads(second.body)) == {"timestamp", "sign", "a"}


def test_slots_fill_the_address_and_cannot_leave_their_place(receive: Receive) -> None:
    receiver = receive()
    where = Destination("d", "url", (receiver.url + "/members/", lambda _, facts: None, "/tags"))
    attempt(where, one=delivery(slots=["a%2F..%2Fadmin%3Fx%3D1"]))
    assert receiver.requests[0].path == "/members/a%2F..%2Fadmin%3Fx%3D1/tags"
    assert attempt(where)[0].verdict is Verdict.CHANGED


def test_a_slow_answer_ends_with_the_timeout(receive: Receive) -> None:
    receiver = receive(answer=lambda _: time.sleep(0.4) or (200, {}))
    (found,) = attempt(destination(receiver.url + "/x", timeout=100))
    assert found == Attempt(Verdict.AGAIN, "no answer within 100 ms", alive=False)


def test_an_endless_answer_is_cut(receive: Receive) -> None:
    receiver = receive(content=b"x" * 3_000_000)
    assert attempt(destination(receiver.url + "/x"))[0].verdict is Verdict.DELIVERED


def port(receiver: Receiver) -> str:
    return receiver.url.rpartition(":")[2]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "[::1]", "0.0.0.0", "169.254.169.254", "[fd00:ec2::254]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
        "10.0.0.1", "192.168.1.1", "100.100.100.200", "2130706433", "127.1", "localhost",
    ],
)  # fmt: skip
def test_addresses_inside_are_not_reached(receive: Receive, host: str) -> None:
    """The control: the same receiver is reached where its network is allowed."""
    receiver = receive()
    (found,) = attempt(destination(f"http://{host}:{port(receiver)}/x"), PUBLIC)
    assert found.verdict is Verdict.AGAIN
    assert "not allowed" in found.error or "InvalidUrl" in found.error
    assert receiver.requests == []
    if host in ("127.0.0.1", "localhost"):
        allowed = AllowedAddresses([ip_network("127.0.0.0/8"), ip_network("::1/128")])
        assert attempt(destination(f"http://{host}:{port(receiver)}/x"), allowed)[0].verdict is Verdict.DELIVERED


@pytest.mark.parametrize("others", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["2606:4700::1111", "::1"]])
def test_one_bad_answer_of_the_resolver_refuses_the_name(receive: Receive, others: list[str]) -> None:
    receiver = receive()
    (found,) = attempt(destination(f"http://crm.example.com:{port(receiver)}/x"), PUBLIC, answers(*others))
    assert found == Attempt(Verdict.AGAIN, "crm.example.com leads to an address that is not allowed", alive=False)
    assert receiver.requests == []


def test_the_address_that_was_looked_at_is_the_one_that_is_reached(receive: Receive) -> None:
    """A name that says something else the second time: there is no second time within a connection."""
    receiver = receive()
    lookup = answers("127.0.0.1")
    found = attempt(destination(f"http://crm.example.com:{port(receiver)}/x"), LOCAL, lookup, times=3)
    assert [one.verdict for one in found] == [Verdict.DELIVERED] * 3
    assert lookup.asked == ["crm.example.com"]
    assert receiver.requests[0].headers["host"].startswith("crm.example.com")


def test_http_needs_to_be_allowed(receive: Receive) -> None:
    receiver = receive()

    async def run() -> Attempt:
        async with session(LOCAL) as client:
            return await WebhookSender(destination(receiver.url + "/x"), client, LOCAL).attempt(delivery())

    assert asyncio.run(run()).error == "http is not allowed (deliver_http)"
    assert receiver.requests == []


def test_retry_after_is_seconds_or_a_date_and_bounded() -> None:
    assert retry_after("120") == 120_000
    assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_717) == 60_000
    assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_977) == 0
    assert retry_after("99999999999") == 86_400_000
    for nothing in ("", "soon", "-1", "²"):
        assert retry_after(nothing) is None
