"""What a draft would have made of the recent past, beside the definitions in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.control.drafts import Drafts
from rtcdp.control.reviews import NotNow
from rtcdp.errors import ClusterError, DefinitionErrors, SettingError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.rules.loading.folder import load
from rtcdp.rules.sending import DAY_MS
from rtcdp.serving.api.administration import MOST_FILES, Draft, in_folder
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.groups import Groups
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.settings.config import Settings
from rtcdp.simulate.comparing import Backtest, Cost, Fires, Segment
from rtcdp.simulate.recent import Backtests, Busy, Job, Past, TooLong
from rtcdp.times.timestamps import rfc3339

Count = int | None
"""None: not told to this token (a small group), or there is nothing of that name in this version."""


class Tried(msgspec.Struct, forbid_unknown_fields=True):
    """What to fold the past under: texts of YAML files by name, or a draft by its version. days: how far back it begins."""

    files: Annotated[dict[str, str], msgspec.Meta(max_length=MOST_FILES)] = {}
    version: str = ""
    days: Annotated[float, msgspec.Meta(gt=0, le=366)] = 7


class Beside(msgspec.Struct):
    """A number under the version in force, and under the draft."""

    old: Count
    new: Count


class SegmentBeside(msgspec.Struct):
    """A segment at the end.

    enter, leave: members under the draft alone, under the version in force alone. overlap: share of both among either.
    ever: who has been in it at any time. entering, leaving: keys of some; empty without the scope `personal`.
    """

    name: str
    members: Beside
    enter: Count
    leave: Count
    overlap: float | None
    ever: Beside
    entering: list[str]
    leaving: list[str]


class NumberBeside(msgspec.Struct):
    """A tag's or a stage's profiles at the end."""

    name: str
    profiles: Beside


class TriggerBeside(msgspec.Struct):
    """What a trigger would have sent. days: `2026-03-01` to how often. not_sent: under the draft, by reason."""

    name: str
    sent: Beside
    days: dict[str, Beside]
    not_sent: dict[str, Count]


class CostBeside(msgspec.Struct):
    """What a version costs: bytes of a profile, events folded per second of processor time."""

    version: str
    bytes_mean: float
    events_per_s: float


class Tested(msgspec.Struct):
    """What would be different.

    since, until: the part of the log that was read, by time of arrival. Profiles begin empty at its first event.
    cut:          it begins later than asked for: there are more events than the server reads.
    """

    since: str
    until: str
    cut: bool
    events: int
    profiles: Count
    old: CostBeside
    new: CostBeside
    segments: list[SegmentBeside]
    tags: list[NumberBeside]
    stages: list[NumberBeside]
    triggers: list[TriggerBeside]


class Backtesting:
    """The handler."""

    def __init__(self, settings: Settings, catalogue: Catalogue, groups: Groups) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._groups = groups
        self._backtests = Backtests(settings.backtest_s)

    def operations(self) -> list[Operation]:
        """The one there is."""
        summary = "What a draft would have made of the recent past"
        return [
            Operation(
                "backtest", "POST", "/v1/definitions/backtest", "definitions:backtest", summary, self.backtest,
                {JSON: Tested}, TenantQuery, body=Tried, problems=(404, 422), audited=True,
            ),
        ]  # fmt: skip

    def close(self) -> None:
        """End a back-test that is under way."""
        self._backtests.close()

    async def backtest(self, call: Call) -> Answer:
        """`POST /v1/definitions/backtest`."""
        if bool(call.body.files) == bool(call.body.version):
            raise Problem(400, "say what to test: files, or the version of a draft")
        now = now_ms()
        try:
            return as_json(await run_in_threadpool(self._tested, call, now))
        except DefinitionErrors as errors:
            words = "nothing was tested: the definitions have errors"
            raise Problem(422, words, errors=[str(error) for error in errors.errors]) from None
        except Busy:
            raise Problem(503, "another back-test is under way", retry_s=5) from None
        except TooLong:
            words = f"it was ended after {self._settings.backtest_s} s: ask for fewer days"
            raise Problem(422, words) from None
        except NotNow as reason:
            raise Problem(404, str(reason)) from None
        except (ClusterError, SettingError) as error:
            raise Problem(503, str(error), retry_s=1) from None

    def _tested(self, call: Call, now: int) -> Tested:
        asked: Tried = call.body
        old = self._catalogue.definitions()
        drafted = Drafts(self._settings).draft(asked.version)[0].normal if asked.version else ""
        new = drafted or in_folder(Draft(asked.files), _normal)
        since = now - int(asked.days * DAY_MS)
        job = Job(self._settings, old.normal, new, call.tenant, since, now, self._settings.backtest_events)
        past = self._backtests.make(job)
        call.about |= {"since": rfc3339(past.since), "version": past.found.new.version}
        if call.personal:
            for segment in past.found.segments.values():
                call.profiles += [*segment.entering, *segment.leaving]
        return _Telling(self._groups, call).tested(past, now)


def _normal(folder: Path) -> str:
    return load(folder).normal


class _Telling:
    """Says what came of it, as far as the token may know it."""

    def __init__(self, groups: Groups, call: Call) -> None:
        self._groups = groups
        self._call = call

    def tested(self, past: Past, until: int) -> Tested:
        found = past.found
        old = found.old or found.new  # `measured` makes both
        return Tested(
            rfc3339(past.since),
            rfc3339(until),
            past.cut,
            found.events,
            self._told(found.new.profiles),
            _cost(old),
            _cost(found.new),
            [self._segment(name, one) for name, one in found.segments.items()],
            self._numbers(found.tags),
            self._numbers(found.stages),
            [self._trigger(name, found) for name in found.triggers],
        )

    def _told(self, count: int | None) -> Count:
        return None if count is None else self._groups.told(self._call, count)

    def _beside(self, old: int | None, new: int | None) -> Beside:
        return Beside(self._told(old), self._told(new))

    def _segment(self, name: str, one: Segment) -> SegmentBeside:
        personal = self._call.personal
        return SegmentBeside(
            name,
            self._beside(one.old, one.new),
            self._told(one.enter),
            self._told(one.leave),
            one.overlap if personal else None,
            self._beside(one.ever_old, one.ever_new),
            one.entering if personal else [],
            one.leaving if personal else [],
        )

    def _numbers(self, found: dict[str, dict[str, int]]) -> list[NumberBeside]:
        return [NumberBeside(name, self._beside(one.get("old"), one.get("new"))) for name, one in found.items()]

    def _trigger(self, name: str, found: Backtest) -> TriggerBeside:
        one: Fires = found.triggers[name]
        days = sorted({*(one.old or {}), *(one.new or {})})
        return TriggerBeside(
            name,
            self._beside(_sum(one.old), _sum(one.new)),
            {day: self._beside(_on(one.old, day), _on(one.new, day)) for day in days},
            {reason: self._told(count) for reason, count in one.not_sent.items()},
        )


def _sum(days: dict[str, int] | None) -> int | None:
    return None if days is None else sum(days.values())


def _on(days: dict[str, int] | None, day: str) -> int | None:
    return None if days is None else days.get(day, 0)


def _cost(cost: Cost) -> CostBeside:
    return CostBeside(cost.version, cost.bytes_mean, cost.events_per_s)
