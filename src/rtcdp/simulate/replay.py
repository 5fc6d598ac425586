"""The same engine without Kafka: events in, outputs out, in order.

Raw events go through `Ingestor` and one `PartitionRunner`, one after the other; time ends with explicit ticks. Outputs
depend on each profile's own records only, so one partition here publishes what many publish in a cluster.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from rtcdp import outputs, records
from rtcdp.errors import SettingError
from rtcdp.folding.erasing import Marking
from rtcdp.folding.fold import Fold
from rtcdp.folding.runner import TICK_WAKES, PartitionRunner
from rtcdp.ingestion.ingestor import Ingestor, Refused, Source
from rtcdp.ingestion.letters import dead_letter, origin_name
from rtcdp.outputs import Origin
from rtcdp.position import Position, SwitchPoint
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import Sealer
from rtcdp.settings.config import Settings
from rtcdp.simulate.oracle import Output
from rtcdp.simulate.sources import LogRecord, csv_events, is_csv, json_lines, log_records, open_bytes, opened_log
from rtcdp.simulate.traffic import topic_records
from rtcdp.times import timestamps

TOPIC = "replay"
LETTER_BYTES = 4_194_304  # `max.message.bytes` of the topic that preflight creates for dead letters
CHANGES, TRIGGERS, DEAD = "profile-changes", "triggers", "events-dlq"
_SOURCE = f"{TOPIC}/0"
FROM_TOPIC = "topic:"
_RELATIVE = re.compile(r"\+(\d+)(ms|[smhdw])")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Replay:
    """One partition that holds every profile, fed record by record.

    definitions: what to run.
    appended:    append time of every raw record (ms); only a time in the future of it is refused. None: now.
    compiled:    the definitions compiled, where they are already.
    """

    def __init__(self, definitions: Definitions, *, appended: int | None = None, compiled: Compiled | None = None) -> None:
        self._ingestor = Ingestor(definitions.tracking, definitions.identity, Source(TOPIC, time="event"))
        self._log = RecordedLog(definitions, compiled={} if compiled is None else {compiled.version: compiled})
        self._appended = time.time_ns() // 1_000_000 if appended is None else appended
        self._folded = 0
        self.now = 0
        self.events = 0

    @property
    def state(self) -> dict[bytes, bytes]:
        """The table: profile key to profile, as in the changelog."""
        return self._log.partition(0).state

    def feed(self, value: bytes | None, key: bytes | None = None) -> Iterator[Output]:
        """Fold one raw event; yields what comes out."""
        offset = self.events
        self.events += 1
        found = self._ingestor.ingest(value, _SOURCE, offset, self._appended)
        if isinstance(found, Refused):
            if found.letter:
                origin = Origin(topic=TOPIC, partition=0, offset=offset)
                letter = dead_letter(found.unfit, origin, key, value, self._appended, LETTER_BYTES)
                yield Output(DEAD, origin_name(origin).encode(), outputs.encode(letter))
            return
        self.now = max(self.now, found.received)
        yield from self._fold(found.key, found.value)

    def run_until(self, until: int) -> Iterator[Output]:
        """Let time run to `until` (ms), waking whoever is due: an explicit tick, and those that continue it."""
        runner = self._log.partition(0).runner
        tick: bytes | None = records.encode(records.Tick(time=until, wake=TICK_WAKES, simulated=True))
        while tick is not None:
            yield from self._fold(records.TICK_KEY, tick)
            tick = runner.next_tick(0)

    def _fold(self, key: bytes, value: bytes) -> Iterator[Output]:
        offset, self._folded = self._folded, self._folded + 1
        fold = self._log.fold(0, offset, key, value)
        yield from in_order(fold)
        for _, other, record in fold.appends:  # what one identifier tells another is read at once: nobody is in between
            yield from self._fold(other, record)


def replay(
    values: Iterable[bytes | None], definitions: Definitions, until: int | None = None, *, appended: int | None = None
) -> Iterator[Output]:
    """What a worker publishes for these raw events in this order, in `event` time mode.

    values: raw events (Segment JSON, any bytes).
    until:  where time runs to after the last of them (ms); None: it stands still there.
    """
    engine = Replay(definitions, appended=appended)
    for value in values:
        yield from engine.feed(value)
    if until is not None:
        yield from engine.run_until(until)


class _Partition:
    """State and runner of one partition."""

    def __init__(self, number: int, registry: Mapping[str, Compiled], version: str, name: Marking | None) -> None:
        self.state: dict[bytes, bytes] = {}
        position = Position(switches=[SwitchPoint(0, version, 0)])  # as a worker that owns a partition for the first time
        self.runner = PartitionRunner(number, self.state, position, registry, name=name)


class RecordedLog:
    """Folds a `profile-events` log, partition by partition, each record after the other.

    definitions: the version in force at the beginning, then every version that the log switches to.
    compiled:    those that are compiled already, by version.
    name:        the keyed hash of marks of erasures; None: any, for a log that was never sealed.
    """

    def __init__(
        self, *definitions: Definitions, compiled: Mapping[str, Compiled] | None = None, name: Marking | None = None
    ) -> None:
        self._name = name
        self._version = definitions[0].version
        known = compiled or {}
        self._registry = {one.version: known.get(one.version) or compile_definitions(one) for one in definitions}
        self._partitions: dict[int, _Partition] = {}

    def partition(self, number: int) -> _Partition:
        """That partition, new where nothing of it has been folded."""
        found = self._partitions.get(number)
        if found is None:
            found = self._partitions[number] = _Partition(number, self._registry, self._version, self._name)
        return found

    def fold(self, number: int, offset: int, key: bytes | None, value: bytes | None) -> Fold:
        """Fold one record."""
        runner = self.partition(number).runner
        fold = runner.fold([(offset, key, value)])
        runner.adopt(fold)
        return fold


def in_order(fold: Fold) -> Iterator[Output]:
    """The outputs of a fold, changes and triggers merged by each profile's `seq`."""
    if fold.changes and fold.triggers:
        changes = [Output(CHANGES, key, value) for key, value in fold.changes]
        triggers = [Output(TRIGGERS, key, value) for key, value in fold.triggers]
        yield from sorted(changes + triggers, key=lambda output: orjson.loads(output.value)["seq"])
    else:
        for key, value in fold.changes:
            yield Output(CHANGES, key, value)
        for key, value in fold.triggers:
            yield Output(TRIGGERS, key, value)
    for key, value in fold.letters:
        yield Output(DEAD, key, value)


def replay_log(
    log: Iterable[LogRecord], *definitions: Definitions, sealer: Sealer | None = None, left_out: Counter[str] | None = None
) -> Iterator[Output]:
    """What a worker publishes for a recorded `profile-events` log: ticks and switches are in it.

    definitions: the version in force at its beginning, then every version that it switches to.
    sealer:      opens what is sealed. left_out: counts, as `erased`, records of people who were erased since.

    Raises SettingError where a version is missing, ClusterError where something is sealed and `sealer` is None.
    """
    folding = RecordedLog(*definitions, name=None if sealer is None else lambda key: sealer.name(key).name)
    versions = {one.version for one in definitions}
    for number, offset, key, value in opened_log(log, sealer, Counter() if left_out is None else left_out):
        if key == records.SWITCH_KEY and value is not None:
            _check_version(value, versions)
        yield from in_order(folding.fold(number, offset, key, value))


def _check_version(value: bytes, versions: set[str]) -> None:
    switch = records.decode(value)
    if isinstance(switch, records.Switch) and switch.version not in versions:
        raise SettingError(
            f"the log switches to the definitions {switch.version}; those given are {', '.join(sorted(versions))}"
        )


# The command


@dataclass(frozen=True)
class ReplayOptions:
    """What `rtcdp replay` was asked for; see its help."""

    events: str
    definitions: tuple[Path, ...]
    until: str | None = None
    mapping: str | None = None
    profile_events: bool = False
    topics: bool = False
    settings: Settings | None = None


def run(options: ReplayOptions, out: IO[bytes]) -> str:
    """`rtcdp replay`: writes every output as a JSON line to `out`; returns a line that sums up.

    Raises DefinitionErrors, SettingError, and ClusterError where a topic or the keys of a sealed log cannot be read.
    """
    left_out: Counter[str] = Counter()
    definitions = [load(folder) for folder in options.definitions]
    counts = {CHANGES: 0, TRIGGERS: 0, DEAD: 0}
    for output in _outputs(options, definitions, left_out):
        counts[output.topic] += 1
        out.write(_line(output, with_topic=options.topics))
    out.flush()
    told = f"{counts[CHANGES]} profile changes, {counts[TRIGGERS]} triggers, {counts[DEAD]} dead letters"
    erased = left_out["erased"]
    return f"{told}; {erased} records of people who were erased are left out" if erased else told


def _outputs(options: ReplayOptions, definitions: list[Definitions], left_out: Counter[str]) -> Iterator[Output]:
    settings = options.settings or Settings.load({})
    if options.profile_events and options.events.startswith(FROM_TOPIC):
        log = topic_records(settings.kafka(), options.events.removeprefix(FROM_TOPIC))
        yield from replay_log(log, *definitions, sealer=sealer_of(settings, 1), left_out=left_out)
        return
    with open_bytes(options.events) as stream:
        if options.profile_events:
            if options.until or options.mapping:
                raise SettingError("--profile-events: a recorded log has its own ticks and needs no mapping")
            yield from replay_log(log_records(stream), *definitions, sealer=sealer_of(settings, 1), left_out=left_out)
            return
        if len(definitions) != 1:
            raise SettingError("--definitions: events are replayed under one folder; only a recorded log may need more")
        if options.mapping is not None:
            values = csv_events(stream, options.mapping)
        elif is_csv(options.events):
            raise SettingError("--map: a CSV file needs a column mapping, like user_id=uid,event=name,timestamp=at")
        else:
            values = json_lines(stream)
        engine = Replay(definitions[0])
        until = parse_until(options.until) if options.until else None
        for value in values:
            yield from engine.feed(value)
        if until is not None:
            time_given, relative = until
            yield from engine.run_until(engine.now + time_given if relative else time_given)


def parse_until(text: str) -> tuple[int, bool]:
    """`+30d` as (ms, True), a time as (ms since 1970, False). Raises SettingError."""
    if found := _RELATIVE.fullmatch(text):
        return int(found[1]) * _UNITS[found[2]], True
    ms = timestamps.parse(text)
    if ms is None:
        raise SettingError(f"--until: {text!r} is neither a time (RFC 3339) nor a duration like +30d")
    return ms, False


def _line(output: Output, *, with_topic: bool) -> bytes:
    if with_topic:
        body = {"topic": output.topic, "key": output.key.decode("utf-8", "replace"), "value": orjson.Fragment(output.value)}
        return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
    return output.value + b"\n"
