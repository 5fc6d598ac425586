"""`rtcdp collector keys`: what each command does with the file of write keys."""

from __future__ import annotations

from typing import Any

from rtcdp.errors import SettingError
from rtcdp.serving.collector.write_keys import KeyFile, WriteKey
from rtcdp.settings.config import Settings


def add(
    settings: Settings, source: str, *, topic: str | None, server: bool, rate: int | None, known: str = ""
) -> tuple[dict[str, Any], str]:
    """A new key: what is known of it, and its text.

    topic: one of the sources; None: the first of them. For the rest see `KeyFile.add`.

    Raises SettingError.
    """
    topics = [one.topic for one in settings.sources]
    if topic is not None and topic not in topics:
        raise SettingError(f"topic: {topic} is none of the sources ({', '.join(topics)})")
    key, text = KeyFile(settings.collector_keys).add(source, topic or topics[0], server=server, rate=rate, known=known)
    return described(settings, key), text


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Every key, revoked ones too. Raises SettingError where the file cannot be read."""
    return [described(settings, key) for key in KeyFile(settings.collector_keys).read()]


def revoke(settings: Settings, key_id: str) -> dict[str, Any]:
    """End a key. Raises SettingError where there is none with this id."""
    return described(settings, KeyFile(settings.collector_keys).revoke(key_id))


def described(settings: Settings, key: WriteKey) -> dict[str, Any]:
    """A key without its hash, with the tenant that its topic gives it."""
    tenants = {source.topic: source.tenant for source in settings.sources}
    return {
        "id": key.id,
        "source": key.source,
        "topic": key.topic,
        "tenant": tenants.get(key.topic, ""),
        "server": key.server,
        "rate": settings.collector_rate if key.rate is None else key.rate,
        "created": key.created,
        "revoked": key.revoked,
    }
