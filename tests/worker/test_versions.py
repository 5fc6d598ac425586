"""The topic of definitions: proposing, applying, following; and ingest versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest

from rtcdp.control.versions import CURRENT, DefinitionsTopic, Versions, apply, named, propose
from rtcdp.errors import ClusterError, SettingError
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.settings.config import SourceSettings
from rtcdp.worker.ingest.progress import VersionPoint
from rtcdp.worker.ingest.versions import IngestPlan, Plans
from rtcdp.worker.layout import first_version
from tests.worker.conftest import wait_for

MakeTopic = Callable[..., str]
Define = Callable[[str], Definitions]


@pytest.fixture
def define(tmp_path: Path) -> Define:
    """Definitions from YAML text."""

    def make(text: str) -> Definitions:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "all.yaml").write_text(text, "utf-8")
        return load(folder)

    return make


@pytest.fixture
def definitions_topic(kafka: str, topic: MakeTopic) -> Callable[[], DefinitionsTopic]:
    """Makes readers of one topic, each as a process of its own would have it."""
    name = topic(1, {"cleanup.policy": "compact"})

    def make() -> DefinitionsTopic:
        one = DefinitionsTopic({"bootstrap.servers": kafka}, name, "test")
        one.read()
        return one

    return make


def test_the_first_entry_waits_for_nothing(definitions_topic: Callable[[], DefinitionsTopic]) -> None:
    """An idempotent producer would wait half a second for its id. The best of three: others use this machine, too."""

    def seconds() -> float:
        topic, began = definitions_topic(), perf_counter()
        topic.write({"version": b"{}", CURRENT: b'{"version":"version"}'})
        return perf_counter() - began

    assert min(seconds() for _ in range(3)) < 0.4


def test_a_folder_is_proposed_once(define: Define, definitions_topic: Callable[[], DefinitionsTopic]) -> None:
    old, new = define("features: {a: {count: A}}"), define("features: {a: {count: B}}")
    assert propose(definitions_topic(), old, "one") == "proposed"
    assert named(definitions_topic().entries, CURRENT) == old.version
    assert propose(definitions_topic(), old, "one") == "unchanged"
    assert apply(definitions_topic(), new)
    assert not apply(definitions_topic(), new)
    assert propose(definitions_topic(), old, "one") == "unchanged", "a restart undoes nothing"
    assert named(definitions_topic().entries, CURRENT) == new.version
    assert propose(definitions_topic(), old, "two") == "proposed", "another instance has another folder"
    assert named(definitions_topic().entries, CURRENT) == old.version


def test_versions_are_compiled_when_asked_for(define: Define, definitions_topic: Callable[[], DefinitionsTopic]) -> None:
    old, new = define("features: {a: {count: A}}"), define("features: {a: {count: B}}")
    topic = definitions_topic()
    with pytest.raises(SettingError, match="definitions"):
        Versions(topic)
    apply(topic, old)
    versions = Versions(topic)
    assert versions.current == old.version
    assert versions.get("none") is None
    # Another process writes one: it is found although nothing was followed.
    apply(definitions_topic(), new)
    assert versions.get(new.version) is not None
    assert versions.definitions(new.version) == new
    with pytest.raises(KeyError):
        versions.make_current("none")
    assert versions.current == old.version
    assert versions.make_current(new.version) == new
    assert versions.current == new.version


def test_what_becomes_current_is_followed(define: Define, definitions_topic: Callable[[], DefinitionsTopic]) -> None:
    first, second, third = (define(f"features: {{a: {{count: {name}}}}}") for name in "ABC")
    apply(definitions_topic(), first)
    apply(definitions_topic(), second)
    topic, seen = definitions_topic(), list[str]()
    topic.follow(seen.append)
    try:
        apply(definitions_topic(), third)
        wait_for(lambda: seen)
        assert seen == [third.version], "what was current before is no news"
    finally:
        topic.close()


def test_the_ingest_version_depends_on_tracking_and_identity_alone(define: Define) -> None:
    tracking = "tracking: {events: {A: {properties: {price: number}}}}"
    plain, other = define("features: {a: {count: A}}"), define("features: {a: {count: B}}")
    planned = define(tracking)
    assert IngestPlan.of(plain).version == IngestPlan.of(other).version
    assert IngestPlan.of(plain).version != IngestPlan.of(planned).version
    assert IngestPlan.of(planned).version == IngestPlan.of(define(tracking + "\nfeatures: {a: {count: A}}")).version


def test_an_earlier_ingest_version_is_recalled_by_its_definitions(define: Define) -> None:
    old, new = define("tracking: {events: {A: {properties: {price: number}}}}"), define("features: {a: {count: A}}")
    known = {old.version: old}
    plans = Plans(known.get, IngestPlan.of(new))
    source = SourceSettings(topic="events")
    was = VersionPoint(0, IngestPlan.of(old).version, old.version)
    event = b'{"type":"track","event":"A","userId":"u","properties":{"price":"12.5"}}'
    earlier = plans.ingestor(was, source).ingest(event, "id/0", 0, 1_700_000_000_000)
    now = plans.ingestor(VersionPoint(9, IngestPlan.of(new).version, new.version), source).ingest(
        event, "id/0", 0, 1_700_000_000_000
    )
    assert earlier != now, "the tracking plan makes a number of the text"
    assert plans.ingestor(was, source) is plans.ingestor(was, source)


def test_log_begins_under_the_recorded_version_else_the_oldest() -> None:
    topic = DefinitionsTopic({}, "definitions", "test")
    with pytest.raises(ClusterError, match="holds none"):
        first_version(topic, "shop")
    topic.entries = {
        "proposed/a": b"{}",
        "two": b"",
        "current": b"",
        "one": b"",
        "layout/shop": b'{"topic_id":"i","partitions":2}',
    }
    assert first_version(topic, "shop") == "two"
    topic.entries["layout/shop"] = b'{"topic_id":"i","partitions":2,"version":"one"}'
    assert first_version(topic, "shop") == "one"
