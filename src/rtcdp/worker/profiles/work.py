"""What the partitions of the profile agent work with: the fold they run, the topics they write, what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rtcdp.monitoring.metrics import Metrics
from rtcdp.position import Position
from rtcdp.transport.transactions import HeadersOf
from rtcdp.transport.transactions import Record as Written
from rtcdp.worker.border import Border
from rtcdp.worker.profiles.pace import Rest, Slices

if TYPE_CHECKING:
    from rtcdp.monitoring.spans import Spans

Entry = tuple[bytes, bytes]
Record = tuple[int, bytes | None, bytes | None]


class Folded(Protocol):
    """What a fold hands over (`rtcdp.folding.runner.Fold`)."""

    changes: list[Entry]
    triggers: list[Entry]
    letters: list[Entry]
    appends: list[tuple[int | None, bytes, bytes]]
    state: dict[bytes, bytes | None]
    position: bytes
    counts: Counter[str]
    appended: list[int]
    erased: list[bytes]


class Runner(Protocol):
    """The pure fold of one partition (`rtcdp.folding.runner.PartitionRunner`)."""

    position: Position

    def fold(self, records: Sequence[Record]) -> Folded:
        """Fold records into a `Folded`; nothing is adopted."""

    def ahead(self, records: Sequence[Record]) -> Callable[[], object] | None:
        """What takes long and is to be done before these are folded, in a thread; None: nothing."""

    def adopt(self, fold: Folded) -> None:
        """The fold is committed."""

    def discard(self, fold: Folded) -> None:
        """The fold was aborted."""

    def next_tick(self, watermark: int, wakes: int) -> bytes | None:
        """The tick to append, if something is due and none is outstanding; it wakes so many profiles."""

    def tick_after(self, fold: Any, watermark: int, wakes: int) -> bytes | None:
        """The tick that goes on where one in the fold had to leave off."""

    def order(self) -> Iterator[None]:
        """Make ready, step by step, what folding a switch needs."""

    def rebuild_timers(self) -> None:
        """Index the wake times of the state as it stands."""


class Transactions(Protocol):
    """Where a partition's transactions go (`rtcdp.transport.transactions.TransactionalProducer`)."""

    def begin(self) -> None:
        """Begin one, if none is open."""

    def produce(
        self, topic: str, records: Iterable[Written], partition: int | None = None, *, headers: HeadersOf | None = None
    ) -> None:
        """Queue records inside it."""

    def commit(self) -> None:
        """Commit it. Blocks. Raises Aborted where it was aborted."""

    def abort(self) -> None:
        """Abort what is open, if anything. Blocks."""

    def close(self) -> None:
        """Let it go."""


NewRunner = Callable[[int, MutableMapping[bytes, bytes], Position], Runner]


@dataclass(frozen=True)
class Topics:
    """Names of the topics that the profile agent reads and writes."""

    profile_events: str
    profile_changes: str
    triggers: str
    letters: str
    changelog: str


@dataclass(frozen=True)
class Work:
    """What all partitions of the profile agent share.

    records, size: most that one transaction takes (records, bytes of values).
    limits:        `max.message.bytes` by topic.
    watermark:     the low watermark in ms; None where there is none: no tick is proposed.
    version:       the version of the definitions that is `current`; None where it is not known: no switch is proposed.
    shadow:        the version that is evaluated beside it; empty: none.
    border:        seals and opens, where personal data is encrypted.
    rest:          how long partitions rest between two small transactions.
    slices:        how many profiles a tick wakes.
    spans:         where batches with traced records are reported; None: nowhere.
    erased:        told which profile keys of a partition were erased, once that is committed.
    changelog_end: asks where a changelog partition ends, blocking; None where stores need not know.
    done:          told the offset up to which a partition is done, and the epoch of that.
    """

    topics: Topics
    executor: Executor
    metrics: Metrics
    done: Callable[[int, int, int], None]
    watermark: Callable[[], int | None]
    version: Callable[[], str | None]
    shadow: Callable[[], str] = lambda: ""
    records: int = 15_000
    size: int = 8 << 20
    limits: Mapping[str, int] = field(default_factory=dict)
    changelog_end: Callable[[int], int] | None = None
    erased: Callable[[int, list[bytes]], None] | None = None
    border: Border | None = None
    rest: Rest = field(default_factory=Rest)
    slices: Slices = field(default_factory=Slices)
    spans: Spans | None = None
