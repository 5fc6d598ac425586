"""Signatures: Standard Webhooks 1.0, and those of two chat robots.

Sources: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md; the developers' documentation of Feishu
(custom bot, "signature verification") and of DingTalk (custom robot, "security settings").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import quote

TOLERANCE_S = 300
"""How far a signed report's time may lie from ours (s), as the reference implementations have it."""


def standard(keys: Iterable[bytes], identity: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, over the raw body.

    keys:    a signature is made with each, the newest first: a receiver takes any that fits, so secrets can be rotated.
    seconds: time of this attempt (s since 1970).
    """
    signed = b"%b.%d.%b" % (identity.encode(), seconds, body)
    signatures = " ".join(f"v1,{_base64(key, signed)}" for key in keys)
    return {"webhook-id": identity, "webhook-timestamp": str(seconds), "webhook-signature": signatures}


def verified(keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now: int) -> str:
    """Why a signed report cannot be trusted; "" where it can.

    headers: by lower-case name. now: s since 1970.
    """
    identity, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or not (seconds.isascii() and seconds.isdecimal() and len(seconds) < 12):
        return "no webhook-id or webhook-timestamp"
    if abs(int(seconds) - now) > TOLERANCE_S:
        return "the time of the signature is too far from now"
    signed = f"{identity}.{seconds}.".encode() + body
    given = [part.removeprefix("v1,") for part in headers.get("webhook-signature", "").split(" ") if part.startswith("v1,")]
    matching = [True for key in keys for one in given[:16] if hmac.compare_digest(_base64(key, signed).encode(), one.encode())]
    return "" if matching else "no signature fits"


def feishu(key: bytes, seconds: int) -> dict[str, str]:
    """The two fields that Feishu's robots want in the body."""
    string = b"%d\n%b" % (seconds, key)
    return {"timestamp": str(seconds), "sign": base64.b64encode(hmac.digest(string, b"", hashlib.sha256)).decode()}


def dingtalk(key: bytes, ms: int) -> str:
    """What DingTalk's robots want at the end of the address."""
    sign = quote(_base64(key, b"%d\n%b" % (ms, key)), safe="")
    return f"&timestamp={ms}&sign={sign}"


def _base64(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
