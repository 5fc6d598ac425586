"""Who runs: the ceilings and rtcdp, each as a command with its topics and its wire forms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from benchmarks import clickstream, job
from rtcdp.sealing.master import make_key_file
from rtcdp.sealing.opening import sealer_of
from rtcdp.settings.config import Settings

PARTITIONS = 4
DEFINITIONS = Path(__file__).parent / "rt_segments"
Output = tuple[str, str, str]  # event id, segment, entered or exited


@dataclass(frozen=True)
class Run:
    """Names of one run, all unique. linger_ms: of the ceilings' producers."""

    name: str
    bootstrap: str
    linger_ms: float = 5

    def topic(self, role: str) -> str:
        """The run's topic of that role (`in`, `out`, `changelog`...)."""
        return f"{self.name}-{role}"


@dataclass(frozen=True)
class Peer:
    """One of those compared.

    name:    as in the table.
    encode:  the input record of an event.
    decode:  what an output record says; None for those that do not come from an event.
    start:   command and environment of a run.
    segments: the ones compared with the hand-written job.
    """

    name: str
    encode: Callable[[clickstream.Event], clickstream.Row]
    decode: Callable[[bytes], Output | None]
    start: Callable[[Run], tuple[list[str], dict[str, str]]]
    segments: frozenset[str]


def decode_job(value: bytes) -> Output:
    """An output of a ceiling."""
    change = orjson.loads(value)
    return change["event_id"], change["segment"], change["change"]


def decode_change(value: bytes) -> Output | None:
    """A record of profile-changes."""
    change = orjson.loads(value)
    if change["cause"] != "event" or change["kind"] not in {"entered", "exited"}:
        return None
    return change["message_id"], change["name"], change["kind"]


def ceiling(kind: str) -> Peer:
    """A ceiling of that kind, `state` or `txn`."""

    def start(run: Run) -> tuple[list[str], dict[str, str]]:
        environment = {
            "BENCH_BOOTSTRAP": run.bootstrap,
            "BENCH_IN": run.topic("in"),
            "BENCH_OUT": run.topic("out"),
            "BENCH_CHANGELOG": run.topic("changelog"),
            "BENCH_RUN": run.name,
            "BENCH_LINGER_MS": str(run.linger_ms),
        }
        return [sys.executable, "-m", "benchmarks.ceiling", kind], environment

    return Peer(f"ceil_{kind}", clickstream.as_job, decode_job, start, frozenset(job.SEGMENTS))


def worker(run: Run, agents: str, definitions: Path = DEFINITIONS) -> tuple[list[str], dict[str, str]]:
    """Command and environment of an rtcdp worker on the topics of a run."""
    roles = {
        "PROFILE_EVENTS": "in" if agents == "profile" else "profile-events",
        "PROFILE_CHANGES": "out",
        "CHANGELOG": "changelog",
        "TRIGGERS": "triggers",
        "EVENTS_DLQ": "events-dlq",
        "COMMANDS": "commands",
        "INGEST_PROGRESS": "ingest-progress",
        "DEFINITIONS_TOPIC": "definitions",
    }
    environment = {f"RTCDP_{setting}": run.topic(role) for setting, role in roles.items()}
    source = run.topic("events" if agents == "profile" else "in")
    environment |= {
        "RTCDP_BOOTSTRAP": run.bootstrap,
        "RTCDP_APP": run.name,
        "RTCDP_SOURCES": f"{source}:event",
        "RTCDP_AGENTS": agents,
        "RTCDP_DEFINITIONS": str(definitions),
        "RTCDP_METRICS_PORT": "0",
    }
    return [str(Path(sys.executable).with_name("rtcdp")), "worker"], environment


PROFILE = Peer("rtcdp", clickstream.as_log, decode_change, lambda run: worker(run, "profile"), job.COMPARED)
BOTH = Peer("rtcdp, both agents", clickstream.as_raw, decode_change, lambda run: worker(run, "ingest,profile"), job.COMPARED)
STATE = ceiling("state")


class Keys:
    """A key store for workers with encryption, and a sealer over it to write their input with. folder: of its files."""

    def __init__(self, folder: Path) -> None:
        make_key_file(folder / "master.key")
        self._environment = {
            "RTCDP_ENCRYPTION": "sqlite",
            "RTCDP_KEYS_FILE": str(folder / "keys.db"),
            "RTCDP_MASTER_KEY_FILE": str(folder / "master.key"),
        }
        settings = Settings(encryption="sqlite", keys_file=folder / "keys.db", master_key_file=folder / "master.key")
        sealer = sealer_of(settings, PARTITIONS, create=True)
        if sealer is None:
            raise AssertionError("encryption is on")
        self._sealer = sealer

    def sealed(self, peer: Peer) -> Peer:
        """A peer with encryption; what is fed to the profile stage alone is sealed as ingest would do it."""

        def start(run: Run) -> tuple[list[str], dict[str, str]]:
            command, environment = peer.start(run)
            return command, {**environment, **self._environment}

        def encode(event: clickstream.Event) -> clickstream.Row:
            key, value = peer.encode(event)
            self._sealer.prepare((key,))
            return self._sealer.seal(key, value)

        return replace(peer, name=f"{peer.name}, sealed", start=start, encode=encode if peer is PROFILE else peer.encode)


TXN = ceiling("txn")
