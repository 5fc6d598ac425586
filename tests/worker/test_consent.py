"""Consent through a whole worker on a real Kafka: set from the command line, in force within a second."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from rtcdp.cli import app
from tests.worker.conftest import Deploy, Deployment, wait_for

RULES = """
consent: {purposes: {marketing: {default: denied}}}
features: {wanted: {count: Order Completed, purpose: marketing}}
segments: {targets: wanted >= 1}
triggers:
  offer: {on: Order Completed, channel: email, purpose: marketing}
  later: {on: Order Completed, after: 1h, channel: email, purpose: marketing}
"""


def consent(shop: Deployment, *words: str) -> Any:
    settings = shop.settings
    names = {
        "RTCDP_BOOTSTRAP": settings.bootstrap,
        "RTCDP_APP": settings.app,
        "RTCDP_COMMANDS": settings.commands,
        "RTCDP_AUDIT": settings.audit,
        "RTCDP_STATE_DIR": str(settings.state_dir),
        "RTCDP_PSEUDONYM_KEY": str(shop.folder / "pseudonym.key"),
        "RTCDP_DEFINITIONS_TOPIC": settings.definitions_topic,
    }
    return CliRunner().invoke(app, ["consent", *words], env=names)


def test_a_no_by_hand_takes_effect_within_a_second(deploy: Deploy) -> None:
    shop = deploy()
    (shop.definitions / "rules.yaml").write_text(RULES, "utf-8")
    shop.worker().ready()
    shop.send({"type": "track", "event": "Order Completed", "userId": "u1", "context": {"consent": {"marketing": True}}})
    wait_for(lambda: shop.records(shop.settings.triggers), what="the offer")
    done = consent(shop, "set", "user_id:u1", "marketing=no", "--reason", "asked by phone", "--by", "desk")
    assert done.exit_code == 0, done.output

    def recalled() -> list[dict[str, Any]]:
        return [record for record in shop.records(shop.settings.triggers) if record["type"] == "rtcdp.cancel"]

    (cancel,) = wait_for(recalled, what="the cancellation")
    asked, told = (shop.read(topic)[-1].timestamp()[1] for topic in (shop.settings.commands, shop.settings.triggers))
    assert told - asked < 1_000, "ms from the command's record to that of the cancellation"
    assert cancel["data"] == {"profile": "main/user_id:u1", "trigger": "offer", "reason": "consent"}
    changes = shop.records(shop.settings.profile_changes)
    kinds = [(one["kind"], one["name"], one.get("reason", "")) for one in changes if one["cause"] == "command"]
    assert kinds == [("consent", "marketing", ""), ("not_sent", "later", "consent"), ("exited", "targets", "")]
    shown = consent(shop, "show", "user_id:u1")
    assert shown.exit_code == 0, shown.output
    assert "marketing" in shown.output
    assert "by desk" in shown.output
    assert consent(shop, "show", "user_id:nobody").exit_code == 1
