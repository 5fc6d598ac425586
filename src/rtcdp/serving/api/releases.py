"""Published counts: a release per tenant and period, the same for everybody who asks, and a budget that is kept.

Whoever adds noise anew for each question tells the exact number to who asks often enough. So a release is made once for a
period and written to the topic `releases` before anybody sees it; the topic is the ledger of what has been spent. Where two
servers make one at the same time, the first in the topic is the release and the other is never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from starlette.concurrency import run_in_threadpool

from rtcdp.errors import ClusterError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.servers.preflight import DELETE, LOG_APPEND, Wanted, examine
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.noise import Noise
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.view import View, reading
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps
from rtcdp.transport.failures import cause

PARTITION = 0
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
WAIT_S = 15.0


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the topic `releases`.

    at: when it was made (ms). period: its number. changed: how many of the counts one person can change.
    """

    tenant: str
    period: int
    at: int
    epsilon: float
    changed: int
    version: str
    segments: dict[str, int]
    stages: dict[str, int]


class Budget(msgspec.Struct):
    """What may be told. epsilon: in any `days` days; spent: of that, so far."""

    epsilon: float
    spent: float
    days: int


class Counts(msgspec.Struct):
    """Published counts of a tenant; the same numbers for everybody until the next release.

    at: when they were counted. next: when they may be counted again; null while the budget is spent.
    epsilon: of this release. off_by: a count is at most so far off, in 95 of 100 cases.
    segments, stages: members by name; null where there are too few to tell.
    """

    at: str
    next: str | None
    epsilon: float
    off_by: float
    budget: Budget
    version: str
    segments: dict[str, int | None]
    stages: dict[str, int | None]


@dataclass(frozen=True)
class Exact:
    """What is true: members of each segment and stage under a version of the definitions."""

    version: str
    segments: dict[str, int]
    stages: dict[str, int]


class Ledger:
    """The topic `releases`. Blocks. Raises ClusterError where it cannot be read or written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.releases
        kept = {"retention.ms": f"{(settings.counts_budget_days + 1) * DAY_MS}"}
        wanted = Wanted("releases", 1, {**DELETE, **LOG_APPEND}, kept, ("READ", "WRITE"))
        examine(settings, {self._topic: wanted})

    def releases(self) -> dict[tuple[str, int], Release]:
        """Every release by tenant and period: the first one of each."""
        options = {"group.id": f"{self._settings.app}-releases", "enable.partition.eof": True, "enable.auto.commit": False}
        more = {"auto.offset.reset": "earliest", "fetch.wait.max.ms": 10, "log_level": 0}
        consumer = Consumer({**self._settings.kafka(), **options, **more})
        found: dict[tuple[str, int], Release] = {}
        try:
            consumer.assign([TopicPartition(self._topic, PARTITION, 0)])
            while True:
                message = consumer.poll(WAIT_S)
                if message is None:
                    raise ClusterError(f"{self._topic} could not be read within {WAIT_S:.0f} s")
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return found
                if error is not None:
                    raise ClusterError(f"{self._topic} cannot be read: {error.str()}")
                release = msgspec.json.decode(message.value() or b"", type=Release)
                found.setdefault((release.tenant, release.period), release)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            # What cannot be read may have been spent: to go on would tell more than was allowed.
            raise ClusterError(f"{self._topic} holds what is no release: {error}") from None
        finally:
            consumer.close()

    def write(self, release: Release) -> None:
        """Write one down; returns once Kafka has it."""
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        options = {"acks": "all", "message.timeout.ms": int(WAIT_S * 1_000), "log_level": 0}
        producer = Producer({**self._settings.kafka(), **options})
        key = f"{release.tenant}/{release.period}".encode()
        try:
            producer.produce(self._topic, msgspec.json.encode(release), key, PARTITION, on_delivery=delivered)
        except KafkaException as failure:
            failures.append(cause(failure))
        if producer.flush(WAIT_S + 1) or failures:
            raise ClusterError(f"{self._topic} cannot be written: {failures[0].str() if failures else 'no answer'}")


class Releases:
    """Makes releases as the settings allow. clock: ms since 1970.

    Raises SettingError where OpenDP is not installed, ClusterError as the ledger does.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int] = now_ms) -> None:
        self._settings = settings
        self._clock = clock
        self.noise = Noise(settings.counts_epsilon)
        self._ledger = Ledger(settings)
        self._lock = Lock()

    def current(self, tenant: str, exact: Callable[[], Exact]) -> tuple[Release | None, float, bool]:
        """The release of now, what has been spent, and whether there can be another after it. Blocks.

        exact: counts, where a release has to be made. None: the budget is spent, and there is no earlier release.
        """
        settings, now = self._settings, self._clock()
        period = now // (settings.counts_hours * HOUR_MS)
        with self._lock:
            known = self._ledger.releases()
            if (tenant, period) not in known and self._affordable(known, tenant, now):
                self._ledger.write(self._made(tenant, period, now, exact()))
                known = self._ledger.releases()
        mine = [release for (whose, _), release in known.items() if whose == tenant]
        newest = max(mine, key=lambda release: release.period, default=None)
        return newest, self._spent(known, tenant, now), self._affordable(known, tenant, now)

    def _made(self, tenant: str, period: int, now: int, exact: Exact) -> Release:
        changed = len(exact.segments) + bool(exact.stages)  # somebody may be in every segment, and in one stage
        noisy = iter(self.noise.added([*exact.segments.values(), *exact.stages.values()], max(1, changed)))
        return Release(
            tenant=tenant,
            period=period,
            at=now,
            epsilon=self.noise.epsilon,
            changed=max(1, changed),
            version=exact.version,
            segments={name: next(noisy) for name in exact.segments},
            stages={name: next(noisy) for name in exact.stages},
        )

    def _spent(self, known: dict[tuple[str, int], Release], tenant: str, now: int) -> float:
        since = now - self._settings.counts_budget_days * DAY_MS
        return sum(release.epsilon for release in known.values() if release.tenant == tenant and release.at > since)

    def _affordable(self, known: dict[tuple[str, int], Release], tenant: str, now: int) -> bool:
        return self._spent(known, tenant, now) + self.noise.epsilon <= self._settings.counts_budget * (1 + 1e-9)


class Publishing:
    """Answers with published counts. releases: None where nothing is published."""

    def __init__(self, settings: Settings, view: View, catalogue: Catalogue) -> None:
        self._settings = settings
        self._view = view
        self._catalogue = catalogue
        self._releases = Releases(settings) if settings.counts_epsilon else None

    def operations(self) -> list[Operation]:
        """The one there is."""
        words = "Members of segments and stages with noise: the same for everybody, within a budget"
        return [
            Operation("counts", "GET", "/v1/counts", "counts", words, self.counts, {JSON: Counts}, TenantQuery, problems=(409,))
        ]

    async def counts(self, call: Call) -> Answer:
        """`GET /v1/counts`."""
        releases = self._releases
        if releases is None:
            raise Problem(409, "nothing is published here (counts_epsilon)")
        exact = await self._exact(call.tenant)
        try:
            release, spent, more = await run_in_threadpool(releases.current, call.tenant, lambda: exact)
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        if release is None:
            raise Problem(409, "the budget is spent (counts_budget), and nothing has been published in its time")
        settings = self._settings
        following = (release.period + 1) * settings.counts_hours * HOUR_MS
        return as_json(
            Counts(
                at=timestamps.rfc3339(release.at),
                next=timestamps.rfc3339(following) if more else None,
                epsilon=release.epsilon,
                off_by=releases.noise.off_by(release.changed),
                budget=Budget(settings.counts_budget, spent, settings.counts_budget_days),
                version=release.version,
                segments=self._told(release.segments),
                stages=self._told(release.stages),
            )
        )

    def _told(self, counts: dict[str, int]) -> dict[str, int | None]:
        least = self._settings.api_least_group
        return {name: count if count >= least else None for name, count in counts.items()}

    async def _exact(self, tenant: str) -> Exact:
        definitions = await run_in_threadpool(self._catalogue.definitions)
        segments, stages = list(definitions.segments), [stage.name for stage in definitions.stages]
        with reading():
            complete, _ = await self._view.standing()
            sizes = await self._view.sizes(tenant, segments)
            staged = await self._view.stage_sizes(tenant, stages)
        if not complete:  # half a population would be published for a whole period
            raise Problem(503, "the serving view is being filled", retry_s=5)
        return Exact(definitions.version, dict(zip(segments, sizes, strict=True)), dict(zip(stages, staged, strict=True)))
