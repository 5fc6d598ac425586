"""Rows 12 to 15: what is stored is damaged, has no room, is of another release, or lies in other partitions."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from faults.crashes import crash
from faults.processes import Failed, wait_for
from faults.rig import Rig
from faults.stage import Broker, Result, Stage, disk, fill, finish, load, red
from rtcdp.settings.config import Settings
from rtcdp.worker.offline import backup as backups
from rtcdp.worker.offline.backup import backup
from rtcdp.worker.offline.backup_file import Entry, Stored, read_file, write_file
from rtcdp.worker.offline.rebuild import rebuild
from rtcdp.worker.offline.restoring import restore

REFUSED = 2
"""Exit code of a worker that refuses to start."""


def _segments(rig: Rig, broker: Broker) -> list[Path]:
    """The changelog's files with records in them."""
    found = broker.folder.glob(f"data/{rig.settings.changelog}-*/*.log")
    return sorted(path for path in found if path.stat().st_size > 2_000)


def _delete(rig: Rig, broker: Broker) -> None:
    name = rig.settings.changelog
    admin = AdminClient({"bootstrap.servers": rig.bootstrap, "log_level": 0})
    admin.delete_topics([name])[name].result(20)
    wait_for(lambda: name not in admin.list_topics(timeout=10).topics, 20, "the end of the changelog")


def _undecodable(rig: Rig, broker: Broker) -> None:
    user = min(rig.sender.users)
    producer = Producer({"bootstrap.servers": rig.bootstrap, "partitioner": "murmur2_random"})
    producer.produce(rig.settings.changelog, b"not what it was", f"main/user_id:{user}")
    producer.flush(20)


def _no_position(rig: Rig, broker: Broker) -> None:
    producer = Producer({"bootstrap.servers": rig.bootstrap})
    producer.produce(rig.settings.changelog, b"\x00rubbish", b"~position", 0)
    producer.flush(20)


def _truncated(rig: Rig, broker: Broker) -> None:
    broker.kafka.stop(kill=True)
    for path in _segments(rig, broker):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 2 // 3)
    broker.kafka.start()


def _flipped(rig: Rig, broker: Broker) -> None:
    broker.kafka.stop()  # in order: after a crash the broker itself would look, and truncate there
    for path in _segments(rig, broker)[:1]:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 0x10]))
    broker.kafka.start()


DAMAGES: dict[str, tuple[Callable[[Rig, Broker], None], str]] = {
    "topic deleted": (_delete, "has no position"),
    "undecodable record": (_undecodable, "is no profile"),
    "undecodable position": (_no_position, "the position cannot be read"),
    "truncated tail": (_truncated, "has lost records"),
    "flipped byte": (_flipped, "is damaged"),
}


def refused(rig: Rig, words: str) -> None:
    """A worker must refuse to start, and say these words in its last line."""
    worker = rig.start()
    code = worker.wait(60)
    last = rig.last_words()
    if code != REFUSED or words not in last:
        rig.note("not refused", code=code, said=last)
        rig.unrefused.append(f"exit {code}: {last}")


def row12(stage: Stage) -> Result:
    """changelog damaged, refused by name, repaired by rebuild"""
    result = Result(12, "changelog damaged: refused by name, repaired by `rtcdp rebuild`", stage.seed)
    result.control = "witness unchecked"
    with stage.broker() as broker:
        for name, (damage, words) in DAMAGES.items():
            with stage.rig(name.replace(" ", "-"), bootstrap=broker.bootstrap) as rig:
                with load(rig, rate=200):
                    rig.start()
                    rig.moving()
                    time.sleep(3.0)
                    crash_now(rig)
                damage(rig, broker)
                rig.fault(name)
                refused(rig, words)
                time.sleep(1.0)
                rebuild(Settings(**rig.values), lambda line: rig.note("rebuild", line=line))
                rig.start()
                finish(rig, result, 90)
                for said in rig.unrefused:
                    result.fail(f"{name}: {said}")

    def control(outcome: Result) -> None:
        with stage.broker() as broker, stage.rig("witness-control", bootstrap=broker.bootstrap, off=("witness",)) as rig:
            with load(rig, rate=200):
                rig.start()
                rig.moving()
                time.sleep(2.0)
                crash_now(rig)
            _delete(rig, broker)
            rig.start()
            finish(rig, outcome, 20)

    result.control_red = red(control)
    return result


def crash_now(rig: Rig) -> None:
    """kill -9 of whatever runs; the group forgets it after its session."""
    for worker in rig.workers:
        if worker.code is None:
            worker.end(signal.SIGKILL)
    rig.await_no_members()


def _store_full(stage: Stage, result: Result) -> None:
    """The disk with the workers' RocksDB is full for a while: nothing but time is lost."""
    with (
        disk(stage.folder / "disk-store", 40) as folder,
        stage.rig("disk-store", store="rocksdb", state_dir=str(folder / "state")) as rig,
    ):
        with rig.kept("one"), load(rig, rate=300):
            rig.moving(90)
            fill(folder)
            rig.fault("disk full under the store")
            wait_for(lambda: rig.restarts, 60, "the end of a worker that cannot write")
            words = rig.last_words()
            (folder / "filler").unlink(missing_ok=True)
            rig.moving(90)
        finish(rig, result, 90)
    what = words.rpartition("IO error: ")[2].partition(":")[0]
    result.note = f"a worker whose store has no room ends and says so ({what}); with room it goes on"
    if "the store in" not in words:
        result.fail(f"its last words do not say what is the matter: {words!r}")


def row13(stage: Stage) -> Result:
    """no room left under the logs of the broker, and under the store"""
    result = Result(13, "disk full under the broker's logs, and under the store", stage.seed)
    result.control = "delivery reports ignored, records given up after 1 s"

    def play(outcome: Result, *off: str) -> None:
        with (
            disk(stage.folder / f"disk-{'-'.join(off) or 'full'}", 180) as folder,
            stage.broker(folder=folder) as broker,
            stage.rig(f"disk{''.join(off)}", bootstrap=broker.bootstrap, off=off) as rig,
        ):
            with rig.once("one") if off else rig.kept("one"):
                with load(rig, rate=1_000 if off else 300):
                    for _ in range(3 if off else 1):  # only what is under way at that moment is lost: so more, and more often
                        rig.moving(90)
                        fill(folder)
                        wait_for(broker.ended, 120, "the end of the broker")
                        rig.fault("disk full", group=True)
                        time.sleep(5.0)
                        (folder / "filler").unlink(missing_ok=True)
                        broker.kafka.stop(kill=True)
                        broker.kafka.start()
                    rig.moving(90)
                rig.probe(90)  # here: one that cannot go on is still started again
            finish(rig, outcome, 60)

    play(result)
    _store_full(stage, result)
    result.control_red = red(lambda outcome: play(outcome, "delivery"))
    return result


def row15(stage: Stage) -> Result:
    """partition count changed"""
    result = Result(15, "partition count changed: refused", stage.seed, control="layout unchecked")

    def play(outcome: Result, *off: str) -> None:
        with stage.rig(f"layout{''.join(off)}", off=off) as rig:
            with load(rig, rate=200):
                rig.start()
                rig.moving()
                crash_now(rig)
            admin = AdminClient({"bootstrap.servers": rig.bootstrap, "log_level": 0})
            for topic in (rig.settings.profile_events, rig.settings.changelog):
                admin.create_partitions([NewPartitions(topic, 5)])[topic].result(20)
            rig.fault("partitions added")
            if off:
                rig.start()
                finish(rig, outcome, 30)
                return
            refused(rig, "had 2 partitions and has 5 now")
            outcome.add_faults(rig)
            for said in rig.unrefused:
                outcome.fail(said)

    play(result)
    result.control_red = red(lambda outcome: play(outcome, "layout"))
    return result


def row14(stage: Stage) -> Result:
    """state of earlier releases, and of a newer one"""
    result = Result(14, "state of earlier releases is read, of a newer one refused", stage.seed, control="formats unchecked")
    kept = sorted(VERSIONS.glob("*.rtcdp"))
    result.note = f"state of {', '.join(path.stem for path in kept)}, and such as was written a moment ago"
    kept.append(make(stage, stage.folder / "this.rtcdp"))
    for path in kept:
        wanted = json.loads(path.with_suffix(".json").read_text("utf-8"))
        with stage.rig(f"release-{path.stem}") as rig:
            restore(Settings(**rig.values), path)
            rig.start()
            result.faults += 1
            for user in wanted:
                rig.sender.send(rig.sender.event(user, "probe-again", "Probe", {}), user)
            told = rig.topics.answers(len(wanted), 60)
            rig.stop()
            result.events += sum(answer["events"] for answer in wanted.values())
            wrong = sum(1 for user, answer in wanted.items() if told.get(f"main/user_id:{user}") != answer)
            result.wrong += wrong
            if wrong or not wanted:
                result.fail(f"{path.name}: {wrong} of {len(wanted)} profiles are not what they were")
    newer = _newer(kept[-1], stage.folder / "newer.rtcdp")
    with stage.rig("newer", off=("formats",)) as rig:
        _restore_unchecked(rig, newer)
        result.control_red = _starts(rig)
    with stage.rig("newer-refused") as rig:
        _restore_unchecked(rig, newer)
        refused(rig, "a newer release has written it")
        result.faults += 1
        for said in rig.unrefused:
            result.fail(said)
    return result


VERSIONS = Path(__file__).parent / "versions"
"""Backups made by released versions, each with the answers that its profiles gave (`python -m faults --release`)."""


def make(stage: Stage, path: Path) -> Path:
    """Write a backup of a small deployment, and beside it what its profiles answer to one more probe."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with stage.rig("release") as rig:
        with load(rig):
            rig.start()
            rig.moving()
            time.sleep(3.0)
        rig.probe()
        rig.stop()
        told = rig.topics.answers(len(rig.sender.users), 30)
        backup(Settings(**rig.values), path)
    wanted = {key.partition(":")[2]: answer | {"events": answer["events"] + 1} for key, answer in told.items()}
    path.with_suffix(".json").write_text(json.dumps(wanted, indent=1, sort_keys=True), "utf-8")
    return path


def _newer(path: Path, newer: Path) -> Path:
    """The same as a newer release might have written it."""

    def entries() -> Iterator[Entry]:
        for entry in read_file(path):
            if isinstance(entry, Stored):
                entry.value = bytes([entry.value[0] + 1]) + entry.value[1:]
            yield entry

    write_file(newer, entries())
    return newer


def _restore_unchecked(rig: Rig, path: Path) -> None:
    restore(Settings(**rig.values), path)


def _starts(rig: Rig) -> bool:
    worker = rig.start()
    try:
        rig.owned_by(worker, 30)
    except Failed:
        return False
    return True


def row17(stage: Stage) -> Result:
    """backup, and restore into another cluster"""
    result = Result(17, "backup, and restore into another cluster", stage.seed, control="what was not yet taken in left out")

    def play(outcome: Result, name: str) -> None:
        with stage.broker() as broker, stage.rig(name) as rig:
            with load(rig):
                rig.start()
                rig.moving()
                time.sleep(2.0)
                if stage.share < 1 or name.endswith("control"):
                    crash_now(rig)
                else:
                    crash(rig, "step3.position", 2)
                    rig.await_no_members()
            path = rig.folder / "deployment.rtcdp"
            backup(Settings(**rig.values), path)
            rig.fault("moved")
            with stage.rig(f"{name}-elsewhere", bootstrap=broker.bootstrap) as other:
                restore(Settings(**other.values), path)
                other.before, other.sender.users = [rig], rig.sender.users
                with load(other, first=1_000_000):
                    other.start()
                    other.moving()
                    time.sleep(2.0)
                finish(other, outcome, 60)
            outcome.add_faults(rig)

    play(result, "backup")
    kept = backups._not_taken
    try:
        backups._not_taken = lambda _: iter(())
        result.control_red = red(lambda outcome: play(outcome, "backup-control"))
    finally:
        backups._not_taken = kept
    return result
