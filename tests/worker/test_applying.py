"""Definitions changed while a worker runs: by `rtcdp apply`, and by saving a file of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtcdp.control.applying import apply_folder
from rtcdp.queries.why import explanation_of
from rtcdp.records import SWITCH_KEY
from tests.worker.conftest import DEFINITIONS, Deploy, Deployment, wait_for


def order(user: int) -> dict[str, Any]:
    return {"type": "track", "userId": f"u{user}", "event": "Order Completed"}


def folder_with(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "shop.yaml").write_text(text, "utf-8")
    return folder


def entered(shop: Deployment, name: str) -> set[str]:
    changes = shop.records(shop.settings.profile_changes)
    return {change["profile"] for change in changes if change["kind"] == "entered" and change["name"] == name}


def test_definitions_are_switched_while_events_flow(deploy: Deploy, tmp_path: Path) -> None:
    shop = deploy()
    worker = shop.worker().ready()
    shop.send(*(order(user) for user in range(20) for _ in range(1 + user % 2)))
    wait_for(lambda: len(entered(shop, "buyers")) == 20, what="twenty buyers")

    # A new segment over a feature that is kept already, and one over a new feature.
    text = DEFINITIONS + "  twice: orders >= 2\n  viewers: views >= 1\n"
    changed = folder_with(tmp_path / "changed", text.replace("features:\n", "features:\n  views: {count: Viewed}\n"))
    done = apply_folder(shop.settings, changed)
    assert (done.changed, done.switched, done.partitions) == (True, 2, 2)
    assert done.seconds < 2, "from the command to the switch record in every partition's log"
    expected = {f"main/user_id:u{user}" for user in range(1, 20, 2)}
    wait_for(lambda: entered(shop, "twice") == expected, what="those who ordered twice, though nothing has arrived")
    assert not apply_folder(shop.settings, changed).changed

    why = explanation_of(shop.settings, "user_id:u1", "viewers")
    assert why is not None
    assert "views: warming since" in why.precision, "the worker saw nothing of what they viewed before"
    kept = explanation_of(shop.settings, "user_id:u1", "twice")
    assert kept is not None
    assert (kept.value, kept.precision) == (True, "exact")
    shop.send(order(100), {**order(101), "event": "Viewed"})
    wait_for(lambda: entered(shop, "viewers") == {"main/user_id:u101"}, what="a viewer")
    fresh = explanation_of(shop.settings, "user_id:u101", "viewers")
    assert fresh is not None
    assert fresh.precision == "exact", "who came later has been seen from the first event on"

    # Saving a file of the worker's own folder: what cannot be used stays without effect.
    folder_with(shop.definitions, "segments: {buyers: nonsense}")
    wait_for(lambda: "unknown name 'nonsense'" in worker.log.read_text(), what="the error in the worker's log")
    folder_with(shop.definitions, DEFINITIONS + "  twice: orders >= 1\n")
    everybody = {f"main/user_id:u{user}" for user in (*range(20), 100)}
    wait_for(lambda: entered(shop, "twice") == everybody, what="everybody who ordered")
    switches = [message for message in shop.read(shop.settings.profile_events) if message.key() == SWITCH_KEY]
    assert len(switches) == 2 * shop.settings.partitions
    assert worker.end() == 0


def test_a_version_is_evaluated_beside_and_then_switched_to(deploy: Deploy, tmp_path: Path) -> None:
    shop = deploy()
    worker = shop.worker().ready()
    shop.send(*(order(user) for user in range(10)))
    wait_for(lambda: len(entered(shop, "buyers")) == 10, what="ten buyers")
    text = DEFINITIONS.replace("orders >= 1", "orders >= 2") + "  viewers: views >= 1\n"
    trial = folder_with(
        tmp_path / "trial", "shadow: true\n" + text.replace("features:\n", "features:\n  views: {count: Viewed}\n")
    )
    done = apply_folder(shop.settings, trial)
    assert (done.shadow, done.changed, done.switched) == (True, True, 2)
    shop.send({**order(0), "event": "Viewed"})

    def beside() -> set[tuple[str, str, str]]:
        changes = shop.records(shop.settings.profile_changes)
        return {(change["by"], change["reason"], change["name"]) for change in changes if change["kind"] == "shadow"}

    expected = {("shadow", "exited", "buyers"), ("shadow", "entered", "viewers")}
    wait_for(lambda: expected <= beside(), what="what it does differently")
    assert entered(shop, "viewers") == set(), "nothing of it counts"
    wait_for(lambda: worker.metric("rtcdp_shadow_differences_total") >= 11, what="the count of the differences")

    (trial / "shop.yaml").write_text((trial / "shop.yaml").read_text("utf-8").replace("shadow: true\n", ""), "utf-8")
    done = apply_folder(shop.settings, trial)
    assert (done.shadow, done.changed, done.switched) == (False, True, 2)
    wait_for(lambda: entered(shop, "viewers") == {"main/user_id:u0"}, what="what it had kept")
    assert worker.end() == 0
