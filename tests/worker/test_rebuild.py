"""`rtcdp rebuild` on a real Kafka: a log without state becomes the state and outputs that a worker would make of it."""

from __future__ import annotations

import json

from confluent_kafka import Producer
from typer.testing import CliRunner

from rtcdp import profile as profiles
from rtcdp.cli import app
from rtcdp.control.versions import DefinitionsTopic, apply
from rtcdp.ingestion.ingestor import Accepted, Ingestor, Source
from rtcdp.position import POSITION_KEY
from rtcdp.queries.inspection import partition_of
from rtcdp.rules.loading.folder import load
from rtcdp.servers.preflight import preflight
from rtcdp.transport.restore import restore
from worker.conftest import Deploy, Deployment

RECEIVED = 1_750_000_000_000


def rebuilt(shop: Deployment) -> str:
    """What the command says."""
    done = CliRunner().invoke(app, ["rebuild", "--config", str(shop.folder / "rtcdp.toml")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()[-1]


def test_a_log_without_state_is_made_into_it(deploy: Deploy) -> None:
    shop = deploy()
    settings = shop.settings
    preflight(settings)
    definitions = load(shop.definitions)
    apply(DefinitionsTopic(settings.kafka(), settings.definitions_topic, settings.app), definitions)
    ingestor = Ingestor(definitions.tracking, definitions.identity, Source("s", time="event"))
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for number in range(12):
        raw = {"type": "track", "event": "Order Completed", "userId": f"u{number % 3}", "messageId": f"m{number}"}
        value = json.dumps({**raw, "timestamp": "2025-06-15T15:00:00Z"}).encode()
        found = ingestor.ingest(value, "s/0", number, RECEIVED + number)
        assert isinstance(found, Accepted)
        producer.produce(settings.profile_events, found.value, found.key, partition_of(found.key, 2))
    assert producer.flush(20) == 0
    values = shop.values | {"state_dir": str(shop.folder)}
    (shop.folder / "rtcdp.toml").write_text(
        "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items()), "utf-8"
    )

    assert rebuilt(shop) == "3 profiles from 12 records; 6 outputs had not been published"
    told = shop.records(settings.profile_changes)
    assert sorted({one["name"] for one in told}) == ["buyers", "here"]
    assert len({one["id"] for one in told}) == len(told) == 6
    state: dict[bytes, bytes] = {}
    for number in range(settings.partitions):
        restore(settings.kafka(), settings.changelog, number, state)
        del state[POSITION_KEY]
    assert {key: len(profiles.decode(key.decode(), value).segments) for key, value in state.items()} == {
        f"main/user_id:u{number}".encode(): 2 for number in range(3)
    }

    assert rebuilt(shop) == "3 profiles from 12 records; 0 outputs had not been published"
    assert len(shop.records(settings.profile_changes)) == 6
