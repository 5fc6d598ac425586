"""Settings: where they come from, in which order, and what a bad one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtcdp.errors import SettingError
from rtcdp.settings.config import MASK, Settings, SourceSettings, unknown_variables


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests."""
    import os

    for name in list(os.environ):
        if name.startswith("RTCDP_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = Settings.load()
    assert settings.sources == (SourceSettings(topic="events", tenant="main", time="arrival"),)
    assert settings.agents == ("ingest", "profile")
    assert settings.changelog == "rtcdp-profiles-changelog"
    assert settings.metrics_host == "127.0.0.1"
    assert settings.tick_grace_ms == 250


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rtcdp.toml"
    file.write_text('app = "file"\npartitions = 7\nreplication = 3\n', "utf-8")
    monkeypatch.setenv("RTCDP_APP", "environment")
    monkeypatch.setenv("RTCDP_PARTITIONS", "8")
    settings = Settings.load({"app": "flag", "replication": None}, file=file)
    assert (settings.app, settings.partitions, settings.replication) == ("flag", 8, 3)
    assert settings.changelog == "flag-profiles-changelog"


def test_file_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rtcdp.toml"
    file.write_text('[[sources]]\ntopic = "raw"\ntenant = "shop"\ntime = "event"\n', "utf-8")
    monkeypatch.setenv("RTCDP_CONFIG", str(file))
    assert Settings.load().sources == (SourceSettings(topic="raw", tenant="shop", time="event"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("events", [("events", "arrival")]),
        ("events:event", [("events", "event")]),
        ("events, imports:event", [("events", "arrival"), ("imports", "event")]),
        ('[{"topic": "raw", "time": "event"}]', [("raw", "event")]),
    ],
)
def test_simple_form_of_sources(text: str, expected: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCDP_SOURCES", text)
    assert [(source.topic, source.time) for source in Settings.load().sources] == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"metrics_port": "x"}, ["metrics_port", "integer", "set by flags"]),
        ({"metrics_port": 70_000}, ["metrics_port", "65535"]),
        ({"sourcs": "events"}, ["sourcs", "no such setting", "did you mean sources"]),
        ({"sources": "events:later"}, ["sources", "arrival", "event"]),
        ({"sources": "ev ents"}, ["sources"]),
        ({"sources": ""}, ["sources", "at least one"]),
        ({"sources": "[{"}, ["sources"]),
        ({"agents": "ingest,fold"}, ["agents", "profile"]),
        ({"agents": ""}, ["agents"]),
        ({"app": "a b"}, ["app"]),
        ({"changelog": "a b"}, ["changelog", "Kafka topic"]),
        ({"commands": "events"}, ["'events'", "two purposes"]),
        ({"tick_grace_ms": -1}, ["tick_grace_ms"]),
        ({"security_protocol": "SASL_PLAINTEXT"}, ["SASL_PLAINTEXT", "allow_sasl_without_tls"]),
        ({"security_protocol": "SASL_SSL"}, ["sasl_mechanism", "sasl_username", "sasl_password_file"]),
        ({"sasl_username": "me"}, ["security_protocol"]),
    ],
)
def test_a_bad_setting_is_named(flags: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.load(flags)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCDP_PARTITIONS", "many")
    with pytest.raises(SettingError, match=r"(?s)partitions.*environment.*stall_s|stall_s.*partitions.*environment"):
        Settings.load({"stall_s": "long"})


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        Settings.load(file=tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("app = ", "utf-8")
    with pytest.raises(SettingError, match="is not TOML"):
        Settings.load(file=broken)


def test_kafka_options_take_secrets_from_files(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n", "utf-8")
    settings = Settings.load(
        {
            "bootstrap": "b:9092",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "me",
            "sasl_password_file": password,
            "ssl_ca_file": "/ca.pem",
        }
    )
    options = settings.kafka()
    assert options["sasl.password"] == "s3cret"
    assert options["security.protocol"] == "SASL_SSL"
    assert options["ssl.ca.location"] == "/ca.pem"
    assert "s3cret" not in str(settings.report())
    password.unlink()
    with pytest.raises(SettingError, match="sasl_password_file"):
        settings.kafka()


def test_kafka_needs_an_address() -> None:
    with pytest.raises(SettingError, match="bootstrap"):
        Settings.load().kafka()


def test_report_masks_the_password_in_an_address() -> None:
    shown = Settings.load({"redis": "redis://user:hunter2@cache:6379/0"}).report()["redis"]
    assert shown == f"redis://user:{MASK}@cache:6379/0"


def test_likely_typing_errors_among_variables() -> None:
    env = {"RTCDP_BOOTSTRAPP": "x", "RTCDP_SERVICE_HOST": "10.0.0.1", "RTCDP_APP": "a", "OTHER": "b"}
    assert unknown_variables(env) == ["RTCDP_BOOTSTRAPP"]
