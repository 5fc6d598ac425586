"""One partition of `profile-events` at work: take, fold, commit, adopt; again.

State, outputs and position cannot disagree: they are in one transaction, and what was folded counts only when it is
committed. No timer decides how long a transaction is: what arrives while one commits is the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

from confluent_kafka import Message

from rtcdp.errors import Stalled, Unfit
from rtcdp.folding.fold import UNFIT
from rtcdp.ingestion.letters import dead_letter, record
from rtcdp.monitoring.metrics import now_ms
from rtcdp.monitoring.tracing import Carried, parents_of
from rtcdp.outputs import Origin
from rtcdp.position import POSITION_KEY
from rtcdp.records import SWITCH_KEY, TICK_KEY, Switch, decode, encode
from rtcdp.sealing.stores import KeysAway
from rtcdp.transport.owner import Batch
from rtcdp.transport.transactions import Aborted
from rtcdp.worker.border import Stopping
from rtcdp.worker.profiles.pace import Pace
from rtcdp.worker.profiles.sizes import DEFAULT, TooLarge, cannot_be_kept, fit, heavy, too_large
from rtcdp.worker.profiles.stores import MemoryStore, Store
from rtcdp.worker.profiles.switching import Switching
from rtcdp.worker.profiles.work import Entry, Folded, Record, Runner, Transactions, Work

logger = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a batch is done again before the process gives up: a transaction that is always aborted has a lasting cause."""
PAUSE = 0.1
"""Between two attempts (s), growing."""
DIVIDED = 2
"""After so many aborts the halves of a batch are tried."""

MARK_S = 10.0
"""How much of the changelog a kept store may have to read again (s of work)."""
SMALL = 200
"""Records below which folding takes less time than that."""

DEAD = "dead:"
"""How the counts of a fold name dead letters: this, and the reason."""

PROFILE_TOO_LARGE = "profile_too_large"
NOTHING = encode(Switch(number=0, version="", time=0))
"""Folded in place of a refused record: a switch that has long been passed changes nothing but the offset."""

Renewal = tuple[list[bytes], Callable[[], None]]
"""Profile keys to be written again, and what is called when they are."""


class ProfilePartition:
    """One owned partition: its runner, its producer and the turn it is at.

    generation: of the group, in which it was last assigned; the state is kept only into the next one.
    offset:     of the last record folded and committed.
    store:      where the runner's state is kept.
    """

    def __init__(
        self,
        number: int,
        runner: Runner,
        producer: Transactions,
        work: Work,
        offset: int,
        generation: int,
        store: Store | None = None,
    ) -> None:
        self.number = number
        self.runner = runner
        self.producer = producer
        self.offset = offset
        self.generation = generation
        self.store = MemoryStore() if store is None else store
        self._work = work
        self._pace = Pace(work.records, work.size)
        self._batch: Batch | None = None
        self._poked = False
        self._stopping = False
        self._wakeup: asyncio.Future[None] | None = None
        self._committed_at = 0.0
        self._marked_at = perf_counter()
        self._mark: int | None = None
        self._tick_out = False
        self._switching = Switching(runner, work, self.poke)
        self._renewals: deque[Renewal] = deque()

    def deliver(self, batch: Batch) -> None:
        """A turn: there are records."""
        self._batch = batch
        self._wake()

    def renew(self, keys: Iterable[bytes], done: Callable[[], None]) -> None:
        """Write these profiles to the changelog again with the next transaction, soon; then tell `done`. Thread-safe."""
        self._renewals.append((list(keys), done))

    def poke(self) -> None:
        """Look whether a tick or a switch is to be appended, also without records."""
        self._poked = True
        self._wake()

    def stop(self) -> None:
        """Finish what is in flight, then let `run` return."""
        self._stopping = True
        self._switching.close()
        self._wake()

    async def _outgoing(
        self, fold: Folded, renewals: Sequence[Renewal]
    ) -> tuple[Sequence[tuple[int | None, bytes, bytes]], Iterable[tuple[bytes, bytes | None]]]:
        """Records for other profiles and entries of the changelog, as they are to lie in Kafka. Raises Stopping."""
        border = self._work.border
        if border is None:
            return fold.appends, fold.state.items()
        state = dict(fold.state)
        for key in [key for keys, _ in renewals for key in keys if key not in state]:
            if (value := self.store.entries.get(key)) is not None:
                state[key] = value
        appends = await border.sealed_log(fold.appends, self._is_stopping)
        return appends, await border.sealed_state(state.items(), self._is_stopping)

    def _erased(self, fold: Folded, renewals: Sequence[Renewal]) -> None:
        """After a commit: say who was erased, and what was written again."""
        for _, done in renewals:
            self._renewals.popleft()
            done()
        if fold.erased and self._work.erased is not None:
            self._work.erased(self.number, fold.erased)

    def _is_stopping(self) -> bool:
        return self._stopping

    async def run(self) -> None:
        """Work until told to stop. Raises what ends the process: Fenced, Stalled, ClusterError."""
        self._stopping, self._poked, self._batch = False, True, None
        while await self._woken():
            batch = self._turn()
            await self.process(batch)
            if batch is not None:
                batch.end()

    async def process(self, batch: Batch | None) -> None:
        """One batch, exactly once. Does nothing where there are neither records nor anything to append."""
        work = self._work
        await self._settle(batch)
        await self._look_at_changelog()
        # 1. Take what has been fetched; nothing fetched is a batch too when a tick or switch is to be appended.
        messages = batch.take(self._pace.records, self._pace.size) if batch is not None else []
        records = _records(messages)
        proposals = self._proposals()
        if not records and not proposals and not self._renewals:
            return
        if work.border is not None:
            try:
                records = await work.border.opened(records, self._is_stopping)
            except Stopping:
                return
        parents = {} if work.spans is None else parents_of(messages)
        if work.spans is None or not parents:
            await self.exactly_once(records, proposals, batch)
            return
        about: dict[str, str | int] = {
            "rtcdp.topic": work.topics.profile_events,
            "rtcdp.partition": self.number,
            "rtcdp.records": len(records),
        }
        with work.spans.batch("profile", parents.values(), about):
            await self.exactly_once(records, proposals, batch, parents)

    async def exactly_once(
        self, records: Sequence[Record], proposals: list[Entry], batch: Batch | None, parents: Mapping[int, bytes] | None = None
    ) -> bool:
        """Steps 2 to 4; whether they came to their end: not where the partition is being let go.

        What makes a profile too large for its changelog, or a record too large for the log, is found by halves, and refused
        alone. By halves is done, too, what would be one huge transaction, or was aborted again.
        """
        work, runner, producer, topics = self._work, self.runner, self.producer, self._work.topics
        attempt, refused = 0, None
        while True:
            # 2. Fold: pure, and in an overlay over the state.
            started = perf_counter()
            if (fold := await self._folded(records if refused is None else [(records[0][0], SWITCH_KEY, NOTHING)])) is None:
                return False
            large = too_large(fold, topics.changelog, topics.profile_events, work.limits)
            if len(records) > 1 and (large or heavy(fold) or attempt == DIVIDED):
                runner.discard(fold)
                half = len(records) // 2
                first = await self.exactly_once(records[:half], [], batch, parents)
                return first and await self.exactly_once(records[half:], proposals, batch, parents)
            if large:
                runner.discard(fold)
                refused = self._refusal(records, large)
                continue
            if refused is not None:
                fold.letters.append(refused[1])
                fold.counts[f"{DEAD}{refused[0]}"] += 1
            self._fit(fold, records)
            proposed = proposals + self._going_on(fold)
            folded, folded_at = perf_counter(), now_ms()
            renewals = list(self._renewals)
            try:
                appends, state = await self._outgoing(fold, renewals)
            except Stopping:
                runner.discard(fold)
                return False
            # 3. Begin; produce outputs, dead letters, records for the log, state and position; commit.
            try:
                producer.begin()
                traced = Carried(records, parents or {})
                producer.produce(topics.profile_changes, fold.changes, headers=traced.output)
                producer.produce(topics.triggers, fold.triggers, headers=traced.output)
                producer.produce(topics.letters, fold.letters)
                for (partition, key, value), (_, _, plain) in zip(appends, fold.appends, strict=True):
                    producer.produce(topics.profile_events, ((key, value),), partition, headers=traced.passed_on(plain))
                producer.produce(topics.profile_events, proposed, self.number)
                producer.produce(topics.changelog, state, self.number)
                producer.produce(topics.changelog, ((POSITION_KEY, fold.position),), self.number)
                await self._blocking(producer.commit)
            except Aborted as reason:
                runner.discard(fold)
                self._pace.aborted()
                attempt += 1
                if await self._again(attempt, reason):
                    continue
                return False
            self._committed(folded)
            # 4. Adopt the overlay, and say that the batch is done.
            runner.adopt(fold)
            self.store.adopted(self._mark)
            self._mark = None
            self._adopted(records, proposed, batch)
            self._erased(fold, renewals)
            self._observe(fold, len(records), folded - started, perf_counter() - folded, folded_at)
            return True

    async def _folded(self, records: Sequence[Record]) -> Folded | None:
        """Fold; again where a profile is sealed on disk and the key store is away. None where the partition is let go.

        What looks at every profile is done in a thread before: the event loop goes on, with the other partitions.
        """
        while True:
            try:
                if (ahead := self.runner.ahead(records)) is not None:
                    await self._blocking(ahead)
                return self.runner.fold(records)
            except KeysAway as away:
                if self._work.border is None or self._stopping:
                    return None
                await self._work.border.pause(away)

    async def _settle(self, batch: Batch | None) -> None:
        """Rest between two small transactions (see `Rest`). Folding a large batch takes longer."""
        now = perf_counter()
        wait = self._committed_at + self._work.rest.least(now) - now
        if wait > 0 and (batch is None or batch.waiting < SMALL):
            await asyncio.sleep(wait)

    async def _look_at_changelog(self) -> None:
        """Now and then, between two transactions: up to where the store has everything. It is told with the next one.

        So behind what it is told there is always a position.
        """
        end = self._work.changelog_end
        if end is not None and perf_counter() - self._marked_at > MARK_S:
            self._marked_at = perf_counter()
            self._mark = await asyncio.get_running_loop().run_in_executor(self._work.executor, end, self.number)

    async def _woken(self) -> bool:
        """Wait for a turn or a poke; false when told to stop."""
        while not (self._stopping or self._poked or self._batch is not None):
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
        return not self._stopping

    def _turn(self) -> Batch | None:
        batch, self._batch, self._poked = self._batch, None, False
        return batch

    def _fit(self, fold: Folded, records: Sequence[Record]) -> None:
        topics, limits = self._work.topics, self._work.limits
        first = records[0][0] if records else self.offset
        origin = Origin(topic=topics.profile_events, partition=self.number, offset=first)
        letters = len(fold.letters)
        fit(fold, topics.profile_changes, topics.triggers, topics.letters, limits, origin)
        fold.counts[f"{DEAD}too_large"] += len(fold.letters) - letters

    def _refusal(self, records: Sequence[Record], large: TooLarge) -> tuple[str, Entry]:
        """Reason and dead letter of the only record, which makes something too large. Raises ClusterError if it is no such."""
        limits, topics = self._work.limits, self._work.topics
        offset, key, value = records[0] if records else (self.offset, None, None)
        if key is None or value is None or not (large.appended or key == large.key):
            raise cannot_be_kept(large)
        reason = "too_large" if large.appended else PROFILE_TOO_LARGE
        what = f"what it tells {large.name}" if large.appended else "with it the profile"
        detail = f"{what} has {large.size} bytes, more than {large.topic} takes; message id: {getattr(decode(value), 'id', '')}"
        origin = Origin(topic=topics.profile_events, partition=self.number, offset=offset)
        letter = dead_letter(Unfit(reason, detail), origin, key, value, 0, limits.get(topics.letters, DEFAULT), stage="profile")
        return reason, record(letter)

    def _committed(self, folded: float) -> None:
        """A transaction is committed whose fold ended at `folded`."""
        self._committed_at = now = perf_counter()
        self._work.rest.committed(self.number, now)
        self._pace.took(now - folded)

    async def _blocking(self, call: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._work.executor, call)

    def _adopted(self, records: Sequence[Record], proposals: Sequence[Entry], batch: Batch | None) -> None:
        if records:
            self.offset = records[-1][0]
            self._work.done(self.number, self.offset + 1, batch.epoch if batch is not None else -1)
            if self._tick_out and any(record[1] == TICK_KEY for record in records):
                # The next tick may be asked for: at once, since this one may have left profiles to wake.
                self._tick_out, self._poked = False, True
        for key, _ in proposals:
            if key == TICK_KEY:
                self._tick_out = True
            else:
                self._switching.appended()

    async def _again(self, attempt: int, reason: Aborted) -> bool:
        """After an abort: whether to do the batch again. Raises Stalled when that has been tried often enough."""
        await self._blocking(self.producer.abort)  # a commit that fails has aborted already, a refused record has not
        if self._stopping:
            return False  # whoever takes the partition over does it
        if attempt == ATTEMPTS:
            raise Stalled(f"the same batch was aborted {ATTEMPTS} times: {reason}") from reason
        logger.warning("partition %s: attempt %s of a batch was aborted: %s", self.number, attempt, reason)
        await asyncio.sleep(PAUSE * attempt)
        return True

    def _proposals(self) -> list[Entry]:
        """The switch and the tick to append to the own partition, where there are any; one of each outstanding."""
        watermark = self._work.watermark()
        found: list[Entry] = []
        if watermark is not None and (switch := self._switching.proposal(watermark)) is not None:
            found.append((SWITCH_KEY, switch))
        wakes = self._work.slices.wakes(perf_counter())
        if not self._tick_out and (tick := self.runner.next_tick(watermark or 0, wakes)) is not None:
            found.append((TICK_KEY, tick))
        return found

    def _going_on(self, fold: Folded) -> list[Entry]:
        """The tick that goes on where one in the fold had to leave off: in the same transaction, which saves one."""
        tick = self.runner.tick_after(fold, self._work.watermark() or 0, self._work.slices.wakes(perf_counter()))
        return [] if tick is None else [(TICK_KEY, tick)]

    def _observe(self, fold: Folded, records: int, folding: float, committing: float, folded_at: int) -> None:
        if profiles := fold.counts["wakes"] + fold.counts["visits"]:
            self._work.slices.took(self.number, profiles, folding, perf_counter())
        metrics = self._work.metrics
        metrics.taken("profile", records)
        metrics.profile_batch.observe(records)
        metrics.fold_time.observe(folding)
        metrics.commit_time.observe(committing)
        metrics.folded(fold.appended, folded_at)
        metrics.committed(fold.appended, now_ms())
        metrics.dead(
            "profile", {name[len(DEAD) :]: count for name, count in fold.counts.items() if count and name.startswith(DEAD)}
        )
        metrics.unfit({name[len(UNFIT) :]: count for name, count in fold.counts.items() if name.startswith(UNFIT)})
        metrics.shadowed(fold.counts["shadow_differences"], fold.counts["shadow_failed"])
        metrics.written(
            {
                "profile_changes": len(fold.changes),
                "triggers": len(fold.triggers),
                "events_dlq": len(fold.letters),
                "changelog": len(fold.state) + 1,
            }
        )

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


def _records(messages: Sequence[Message]) -> list[Record]:
    return [(message.offset() or 0, message.key(), message.value()) for message in messages]
