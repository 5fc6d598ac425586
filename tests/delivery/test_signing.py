"""Signatures against the reference implementation and the vectors that the specifications give."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from rtcdp.delivery import signing
from rtcdp.delivery.dead import new_secret

# The example of the Standard Webhooks specification and of its reference implementations.
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIME, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KEY = base64.b64decode(SECRET)


def test_the_reference_vector() -> None:
    assert signing.standard([KEY], ID, TIME, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": str(TIME),
        "webhook-signature": SIGNATURE,
    }
    assert Webhook(SECRET).sign(ID, datetime.fromtimestamp(TIME, UTC), BODY.decode()) == SIGNATURE


def test_either_key_verifies_while_one_replaces_the_other() -> None:
    old, new = new_secret(), new_secret()
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in (new, old)]
    now = int(datetime.now(UTC).timestamp())
    headers = signing.standard(keys, "id", now, BODY)
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(BODY + b" ", headers)


def test_reports_are_verified() -> None:
    headers = signing.standard([KEY], ID, TIME, BODY)
    assert signing.verified([b"x" * 24, KEY], headers, BODY, TIME + 10) == ""
    assert signing.verified([b"x" * 24], headers, BODY, TIME) == "no signature fits"
    assert signing.verified([KEY], headers, BODY + b" ", TIME) == "no signature fits"
    assert signing.verified([KEY], headers, BODY, TIME + 301) == "the time of the signature is too far from now"
    assert signing.verified([KEY], {}, BODY, TIME) == "no webhook-id or webhook-timestamp"
    assert signing.verified([KEY], {**headers, "webhook-timestamp": "²"}, BODY, TIME) == "no webhook-id or webhook-timestamp"
    assert signing.verified([KEY], {**headers, "webhook-signature": "v1,é"}, BODY, TIME) == "no signature fits"


def test_robots() -> None:
    """As the developers' documentation shows it: Feishu's key is what is signed elsewhere, DingTalk's goes into the address."""
    signed = hmac.new(b"1599360473\ndemo", b"", hashlib.sha256).digest()
    assert signing.feishu(b"demo", 1_599_360_473) == {"timestamp": "1599360473", "sign": base64.b64encode(signed).decode()}
    query = parse_qs(signing.dingtalk(b"SEC1", 1_577_808_000_123))
    signed = hmac.new(b"SEC1", b"1577808000123\nSEC1", hashlib.sha256).digest()
    assert query == {"timestamp": ["1577808000123"], "sign": [base64.b64encode(signed).decode()]}
