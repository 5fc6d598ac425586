"""Controls: a protection switched off in one worker process. A row that stays green without its protection proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


def transaction() -> None:
    """No transactions: what is produced is visible at once; fenced by nobody."""
    from rtcdp.transport import transactions

    conf = transactions.transactional_conf
    keys = ("transactional.id", "transaction.timeout.ms")
    transactions.transactional_conf = lambda *args: {k: v for k, v in conf(*args).items() if k not in keys}
    producer: Any = transactions.TransactionalProducer
    producer.open = producer.begin = producer.abort = lambda *_: None
    producer.commit = lambda self, *_: self._producer.flush(30)


def fencing() -> None:
    """Every process has a transactional id of its own, and its transactions may stay open for a minute."""
    from rtcdp.transport import transactions

    conf = transactions.transactional_conf

    def own(kafka: Mapping[str, Any], transactional_id: str) -> dict[str, Any]:
        return {**conf(kafka, f"{transactional_id}-{os.getpid()}"), "transaction.timeout.ms": 60_000}

    transactions.transactional_conf = own


def origins() -> None:
    """The highest origin seen is forgotten at once."""
    from rtcdp.folding import batch

    class Forgetful(dict[str, int]):
        def get(self, *_: Any) -> int:
            return -1

    folding: Any = batch.Batch
    begin = folding.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self._position.origins = Forgetful(self._position.origins)

    folding.__init__ = init


def letters() -> None:
    """What cannot be used is left out without a dead letter."""
    from rtcdp.worker.ingest.log_writer import LogWriter

    writer: Any = LogWriter
    writer.bury = lambda self, message, source, _unfit: self._producer.skip(source, message.offset())


def committed_only() -> None:
    """A restore takes what aborted transactions wrote for state."""
    from rtcdp.transport import restore

    conf = restore.restore_conf
    restore.restore_conf = lambda *args: {**conf(*args), "isolation.level": "read_uncommitted"}


def delivery() -> None:
    """A record that could not be delivered for a second is forgotten, as by a producer whose reports nobody reads."""
    from rtcdp.transport import gapless

    conf = gapless.gapless_conf
    loose = {"message.timeout.ms": 1_000, "enable.gapless.guarantee": False, "enable.idempotence": False}
    gapless.gapless_conf = lambda *args: {**conf(*args), **loose}

    def delivered(self: Any, *_: Any) -> None:
        self.left -= 1

    chunk: Any = gapless._Chunk
    chunk.delivered = delivered
    producer: Any = gapless.GaplessProducer
    producer._on_error = lambda *_: None


def sizes() -> None:
    """Nothing is looked at for its size."""
    from rtcdp.worker.profiles import partition

    module: Any = partition
    module.fit = lambda *_: None
    module.too_large = lambda *_: None


def witness() -> None:
    """A changelog without a position is an empty one."""
    from rtcdp.worker.profiles.changelog import Changelog

    kind: Any = Changelog
    position = kind.position
    kind.position = lambda self, found, _witness: position(self, found, None)


def layout() -> None:
    """Nobody remembers how many partitions there were."""
    from rtcdp.worker import main

    module: Any = main
    module.check_layout = lambda *_: None


def formats() -> None:
    """Nobody looks by which release something was written."""
    from rtcdp import position as positions
    from rtcdp import profile as profiles

    profiles.FORMAT = positions.FORMAT = 99


def generation() -> None:
    """State is kept whatever happened in between; and nobody is fenced, which would notice it too."""
    from rtcdp.worker.profiles.agent import ProfileAgent

    fencing()
    agent: Any = ProfileAgent
    kept: dict[int, Any] = {}
    take_over = agent.take_over

    async def drop(self: Any, number: int) -> None:
        kept[number] = self._partitions.pop(number)

    async def again(self: Any, partitions: set[int], generation: int) -> Any:
        for number in partitions & kept.keys():
            self._partitions[number] = kept.pop(number)
        for partition in self._partitions.values():
            partition.generation = generation - 1
        return await take_over(self, partitions, generation)

    agent._drop, agent.take_over = drop, again


def standing() -> None:
    """A projector goes on from where it believes to be, whatever Redis says."""
    from rtcdp.sinks.redis import RedisSink

    sink: Any = RedisSink
    opening, stepping = sink.open, sink._send
    reached: dict[str, int] = {}

    def begin(self: Any) -> dict[str, int]:
        self._positions = {**opening(self), **reached}
        return dict(self._positions)

    def step(self: Any, script: str, partition: str, end: int, *more: bytes) -> None:
        stepping(self, script, partition, end, *more)
        reached[partition] = end

    sink.open, sink._send = begin, step


def attempts() -> None:
    """What is answered with "not now" counts as delivered."""
    from rtcdp.delivery.deliveries import Outcome
    from rtcdp.delivery.partition import Partition

    partition: Any = Partition
    partition._again = lambda self, pending, _, work: self._finish(pending, Outcome.DELIVERED, work)


def filling() -> None:
    """What is not in the view yet counts as not there."""
    from rtcdp.serving.api.view import Filling, View

    view: Any = View
    profile = view.profile

    async def found(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return await profile(self, *args, **options)
        except Filling:
            return None

    view.profile = found


def session() -> None:
    """Kafka's own session of 45 s, and a member that is a stranger after each restart."""
    from rtcdp.transport import app

    module: Any = app
    settings = module.faust_settings
    patient = {"broker_session_timeout": 45.0, "broker_request_timeout": 60.0, "consumer_group_instance_id": None}
    module.faust_settings = lambda **options: {**settings(**options), **patient}


def bounds() -> None:
    """Whatever a broker has is fetched."""
    from rtcdp.transport import fetching

    module: Any = fetching
    conf = module.fetch_conf
    greedy = {"queued.max.messages.kbytes": 2_000_000, "queued.min.messages": 10_000_000, "fetch.message.max.bytes": 8 << 20}
    module.fetch_conf = lambda *args: {**conf(*args), **greedy}
    module.CAPACITY = module.CAPACITY_BYTES = 1 << 40


def forgetting() -> None:
    """A worker that forgets nothing: something of each turn is kept."""
    from rtcdp.transport.owner import Batch

    kind: Any = Batch
    take = kind.take
    kept: list[bytes] = []

    def taken(self: Any, *args: Any) -> Any:
        found = take(self, *args)
        if found:
            kept.append(os.urandom(1 << 15))
        return found

    kind.take = taken


OFF: Mapping[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        *(transaction, fencing, origins, letters, committed_only, delivery, sizes, witness, layout, formats, generation),
        *(standing, attempts, filling, session, bounds, forgetting),
    )
}
