"""Definitions go from draft over review into force, and what must be reviewed goes no other way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtcdp.control import audit
from rtcdp.control.applying import apply_folder
from rtcdp.control.audit import Actor, Asked
from rtcdp.control.drafts import Drafts, write_files
from rtcdp.control.reviews import NotNow, approved
from rtcdp.control.versions import CURRENT, DefinitionsTopic, named, propose
from rtcdp.errors import SettingError
from rtcdp.settings.config import Settings
from tests.serving.api.conftest import DEFINITIONS, Served

ANN, BOB = Actor("token", "a1", "ann"), Actor("token", "b1", "bob")
ANN_AGAIN = Actor("token", "a2", "ann")
New = Callable[[str], Settings]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    (folder / "more").mkdir(parents=True)
    (folder / "a.yaml").write_text("features: {orders: {count: Order Completed}}\n", "utf-8")
    (folder / "more" / "b.yaml").write_text("segments: {buyers: orders >= 1}\n", "utf-8")
    return folder


@pytest.fixture
def new(kafka: str, topic: Any, tmp_path: Path) -> New:
    """`new(review)`: a deployment whose definitions have to be reviewed so."""

    def make(review: str) -> Settings:
        names = {"definitions_topic": topic(1, {"cleanup.policy": "compact"}, "definitions")}
        stamped = {"message.timestamp.type": "LogAppendTime"}
        names["audit"] = topic(1, stamped, "audit")
        return Settings(bootstrap=kafka, definitions_review=review, state_dir=tmp_path, **names)

    return make


def current(settings: Settings) -> str | None:
    found = DefinitionsTopic(settings.kafka(), settings.definitions_topic, "test").read()
    return named(found, CURRENT)


def test_with_four_eyes_somebody_else_approves(new: New, rules: Path) -> None:
    settings = new("four-eyes")
    drafts = Drafts(settings)
    draft = drafts.propose(rules, ANN, "spring")
    version = draft.version
    assert (draft.state, draft.by, draft.note) == ("draft", ANN, "spring")
    assert drafts.propose(rules, BOB, "mine").by == ANN, "whose it is decides who may approve it"
    for impatient in (lambda: drafts.publish(version, ANN, wait_s=0), lambda: apply_folder(settings, rules, wait_s=0)):
        with pytest.raises(NotNow, match="have not been reviewed"):
            impatient()
    for herself in (ANN, ANN_AGAIN):
        with pytest.raises(NotNow, match="somebody else"):
            drafts.review(version, herself, "approve")
    assert current(settings) is None
    assert drafts.review(version, BOB, "reject", "no").state == "rejected"
    with pytest.raises(NotNow, match="rejected"):
        drafts.publish(version, ANN, wait_s=0)
    assert drafts.review(version, BOB, "approve").state == "reviewed"
    assert drafts.publish(version, ANN, wait_s=0).version == version
    assert current(settings) == version
    (standing,) = Drafts(settings).all()
    assert standing.state == "published"
    assert standing.published is not None
    with pytest.raises(NotNow, match="in force"):
        drafts.withdraw(version, ANN)
    told = [(entry.what, entry.who.name) for entry in audit.entries(settings, Asked())[0]]
    assert told == [
        ("drafts.publish", "ann"),
        ("drafts.approve", "bob"),
        ("drafts.reject", "bob"),
        ("drafts.propose", "ann"),
    ]


def test_a_review_speaks_of_what_was_reviewed_and_of_nothing_later(new: New, rules: Path) -> None:
    settings = new("one")
    drafts = Drafts(settings)
    first = drafts.propose(rules, ANN).version
    assert drafts.review(first, ANN, "approve").state == "reviewed", "one pair of eyes is enough here"
    (rules / "a.yaml").write_text("features: {orders: {count: Order Completed, where: properties.total > 1}}\n", "utf-8")
    with pytest.raises(NotNow, match="have not been reviewed"):
        apply_folder(settings, rules, wait_s=0)
    second = drafts.propose(rules, ANN)
    assert (second.state, second.version != first) == ("draft", True)
    drafts.withdraw(second.version, ANN)
    assert [one.version for one in Drafts(settings).all()] == [first]
    with pytest.raises(NotNow, match="nobody has proposed"):
        drafts.review(second.version, BOB, "approve")


def test_without_reviews_everything_goes_as_ever(new: New, rules: Path, tmp_path: Path) -> None:
    settings = new("none")
    drafts = Drafts(settings)
    version = drafts.propose(rules, ANN).version
    assert drafts.publish(version, ANN, wait_s=0).changed
    draft, _ = drafts.draft(version)
    write_files(tmp_path / "out", draft.files)
    assert (tmp_path / "out" / "more" / "b.yaml").read_bytes() == (rules / "more" / "b.yaml").read_bytes()
    for wrong in ("../x.yaml", "/x.yaml"):
        with pytest.raises(SettingError, match="leads out"):
            write_files(tmp_path / "other", {wrong: ""})


def test_a_worker_with_another_folder_leaves_in_force_what_is(new: New, rules: Path) -> None:
    from rtcdp.rules.loading.folder import load
    from rtcdp.worker.main import _told

    settings = new("one")
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, "test")
    topic.read()
    first = load(rules)
    assert propose(topic, first, "w", told=_told(settings, topic)) == "proposed", "with nothing in force it begins"
    (rules / "a.yaml").write_text("features: {orders: {count: Order}}\n", "utf-8")
    with pytest.raises(NotNow):
        propose(topic, load(rules), "w", told=_told(settings, topic))
    assert current(settings) == first.version
    Drafts(settings).review(Drafts(settings).propose(rules, ANN).version, BOB, "approve")
    topic.read()
    assert propose(topic, load(rules), "w", told=_told(settings, topic)) == "proposed"


def test_what_cannot_be_read_approves_nothing(new: New) -> None:
    entries = {"draft/x": b"{", "review/x/b": b'{"verdict": "approve"}'}
    assert not approved(Settings(definitions_review="one"), entries, "x")


def test_over_http(still: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = still.settings.model_copy(update={"definitions_review": "four-eyes"})
    for operation in still.server.operations:
        if operation.name in {"propose", "apply"}:
            monkeypatch.setattr(operation.handler.__self__, "_settings", strict)
    author = still.client("definitions", "definitions:write", name="author")
    reviewer = still.client("definitions", "definitions:review", name="reviewer")
    draft = author("/v1/drafts", {"files": {"d.yaml": DEFINITIONS}, "note": "as it is"})
    assert draft.status == 200, draft.body
    path = f"/v1/drafts/{draft.json['version']}"
    assert author(f"{path}/review", {"verdict": "approve"}).status == 403
    assert author(f"{path}/publish", b"").status == 409
    other = author("/v1/definitions/apply", {"files": {"d.yaml": "segments: {a: traits.vip}"}})
    assert (other.status, "have not been reviewed" in other.json["detail"]) == (409, True)
    assert reviewer("/v1/drafts").json["review"] == "four-eyes"
    assert reviewer(path).json["files"] == {"d.yaml": DEFINITIONS}
    assert reviewer(f"{path}/review", {"verdict": "approve"}).json["state"] == "reviewed"
    assert reviewer(f"{path}/publish", b"").status == 403
    assert author(f"{path}/publish", b"").json["changed"] is False, "it is in force already"
    assert author(f"{path}/withdraw", b"").status == 409
    assert author("/v1/drafts/0123456789abcdef").status == 404
    assert author("/v1/drafts/0123456789abcdef/publish", b"").status == 404
    bad = author("/v1/drafts", {"files": {"d.yaml": "segments: {a: ordrs >= 1}"}})
    assert (bad.status, len(bad.json["errors"])) == (422, 1)
