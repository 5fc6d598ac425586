"""From records of the log to what a projection keeps of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rtcdp import position as positions
from rtcdp import profile as profiles
from rtcdp.errors import RtcdpError
from rtcdp.outputs import Cancel, Change, TriggerData, TriggerEvent
from rtcdp.position import POSITION_KEY, SwitchPoint
from rtcdp.queries.inspection import Viewer
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.sinks.redis import Flow, View
from rtcdp.times import timestamps

logger = logging.getLogger(__name__)

RESERVED = b"~"
ERASED = "erased"
"""What is told of a flow whose profile was erased: everything kept of it goes."""
WITHDRAWN = "withdrawn"
"""The same of what was kept of its triggers alone."""
MOST_HELD = 50_000
"""Records that may wait for their position: far more than a transaction has."""
_json = msgspec.json.Encoder().encode
_in_order = msgspec.json.Encoder(order="deterministic").encode
_change = msgspec.json.Decoder(Change).decode
_trigger = msgspec.json.Decoder(TriggerEvent).decode
_cancel = msgspec.json.Decoder(Cancel).decode

Record = tuple[int, bytes, bytes | None]
"""Offset, key, value."""


class ViewEntries:
    """Makes the views of one changelog partition.

    compiled:  a version's compiled definitions; None where it is not known.
    partition: its number, for the log.
    """

    def __init__(self, compiled: Callable[[str], Compiled | None], partition: int = 0) -> None:
        self._compiled = compiled
        self._partition = partition
        self._viewers: dict[str, Viewer] = {}
        self._nameless = Viewer(None)
        self._switches: Sequence[SwitchPoint] = ()
        self.unreadable = 0

    def learn(self, position: bytes) -> None:
        """Take the partition's position in: it names the version that each switch began."""
        self._switches = positions.decode(position).switches

    def make(self, records: Sequence[Record]) -> tuple[list[View], int]:
        """The newest view of each key, in the order of the log, and how many of the records are used.

        Records from the first on whose switch is not known yet are left: they are used once the position behind them, written
        in the same transaction, has come.
        """
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        for _, key, value in records:
            if key == POSITION_KEY and value is not None:
                self.learn(value)
        used = 0
        for offset, key, value in records:
            if value is not None and not key.startswith(RESERVED) and not self._knows(value) and len(records) < MOST_HELD:
                break
            used += 1
            if not key.startswith(RESERVED):
                newest.pop(key, None)  # the newest one's place in the order is what counts
                newest[key] = (offset, value)
        views = [self._view(key.decode("utf-8", "replace"), *found) for key, found in newest.items()]
        return [view for view in views if view is not None], used

    def _knows(self, value: bytes) -> bool:
        return bool(self._switches) and profiles.switch(value) <= self._switches[-1].number

    def _view(self, key: str, offset: int, value: bytes | None) -> View | None:
        if value is None:
            return key, offset, "", ""
        try:
            profile = profiles.decode(key, value)
        except RtcdpError:  # its text names the profile
            self.unreadable += 1
            where = {"partition": self._partition, "offset": offset}
            logger.warning("a profile cannot be read and stays as it was shown", extra=where)
            return None
        if profile.alias:  # everything is at the person's own profile
            return key, offset, "", _in_order(({}, [], "", profile.alias)).decode()
        if profile.fresh and not profile.consent:  # an identifier of two people that has done nothing by itself
            return key, offset, "", ""
        viewer = self._viewer(profile.switch)
        inside = viewer.memberships(profile)
        view = viewer.view(profile, len(value), inside)
        sets = _in_order((inside, viewer.identifiers(profile), view.stage))
        return key, offset, f'{{"offset":{offset},{_json(view)[1:].decode()}', sets.decode()

    def _viewer(self, switch: int) -> Viewer:
        passed = [point.version for point in self._switches if point.number <= switch]
        if not passed:
            return self._nameless
        version = passed[-1]
        viewer = self._viewers.get(version)
        if viewer is None:
            viewer = self._viewers[version] = Viewer(self._compiled(version))
        return viewer


def change_flow(value: bytes | None) -> Flow | None:
    """What is kept of a record of `profile-changes`; None where it cannot be read."""
    change: Change | None = _read(_change, value)
    if change is None or (at := timestamps.parse(change.at)) is None:
        return None
    if change.kind == "erased":
        return change.profile, change.seq, at, ERASED, _json(change.new or []).decode(), ()
    detail = change.new if change.kind == "stage" else change.reason
    name = "" if change.kind == "identity" else change.name  # there it is a profile key: as many as people
    what = f"{change.kind}|{name}" + (f"|{detail}" if detail else "")
    return change.profile, change.seq, at, what, _text(value), ()


def trigger_flow(value: bytes | None) -> Flow | None:
    """What is kept of a record of `triggers`; None where it cannot be read."""
    event: TriggerEvent | None = _read(_trigger, value)
    if event is None:
        return _cancel_flow(value)
    if (at := timestamps.parse(event.time)) is None:
        return None
    data = event.data
    what = f"sent|{data.trigger}" + (f"|{data.arm}" if data.arm else "")
    return event.subject, event.seq, at, what, _text(value), (_offered(data), timestamps.parse(data.expires_at) or 0)


def _cancel_flow(value: bytes | None) -> Flow | None:
    """What is kept of a record that withdraws a trigger: it is offered no longer."""
    cancel: Cancel | None = _read(_cancel, value)
    if cancel is None or (at := timestamps.parse(cancel.time)) is None:
        return None
    if cancel.data.reason == ERASED:
        return cancel.subject, cancel.seq, at, WITHDRAWN, "", ()
    return cancel.subject, cancel.seq, at, f"cancelled|{cancel.data.trigger}", _text(value), (cancel.data.trigger, 0)


def _offered(data: TriggerData) -> str:
    return f"{data.trigger}/{data.step}" if data.step else data.trigger


def _text(value: bytes | None) -> str:
    return (value or b"").decode()  # it was JSON, so it is UTF-8


def _read(decode: Callable[[bytes], Any], value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
