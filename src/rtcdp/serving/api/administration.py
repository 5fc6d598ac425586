"""Definitions (read, check, apply), dead letters (list, send again), and how fresh everything is."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.control.applying import apply_folder
from rtcdp.control.reviews import NotNow
from rtcdp.dlq import list_letters, replay
from rtcdp.errors import ClusterError, DefinitionErrors
from rtcdp.monitoring.metrics import now_ms
from rtcdp.outputs import DeadLetter
from rtcdp.rules.loading.check import check
from rtcdp.rules.personal import MASK
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.auditing import actor
from rtcdp.serving.api.catalogue import NONE_YET, Catalogue
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import Token
from rtcdp.serving.api.view import Away, View
from rtcdp.settings.config import Settings
from rtcdp.times import timestamps

MOST_FILES = 200
FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}\.ya?ml")
"""Names of files in a draft: no folders, nothing hidden."""
VERSION = re.compile(r"[0-9a-f]{16}")


class Version(msgspec.Struct):
    """The version of the definitions in force. review: what has to be done before another is: none, one, four-eyes."""

    version: str
    review: str


class Normal(msgspec.Struct):
    """A version of the definitions, in its normal form."""

    version: str
    current: bool
    definitions: dict[str, Any]


class Draft(msgspec.Struct, forbid_unknown_fields=True):
    """Definitions, as the texts of YAML files by name."""

    files: Annotated[dict[str, str], msgspec.Meta(min_length=1, max_length=MOST_FILES)]


class Place(msgspec.Struct):
    """Something wrong in a draft. line and column count from 1; 0 where the place is not known."""

    file: str
    line: int
    column: int
    message: str
    hint: str


class Checked(msgspec.Struct):
    """What a draft holds and what is wrong with it. version: empty where there are errors."""

    ok: bool
    version: str
    counts: dict[str, int]
    errors: list[Place]
    warnings: list[Place]


class Applied(msgspec.Struct):
    """What applying did. partitions: of the log; switched: those that hold the switch already."""

    version: str
    previous: str
    changed: bool
    partitions: int
    switched: int


class LettersQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters. reason: only these. origin: only this one. limit: how many, the newest."""

    reason: Annotated[str, msgspec.Meta(max_length=100)] = ""
    origin: Annotated[str, msgspec.Meta(max_length=512)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class Letters(msgspec.Struct):
    """Dead letters, the latest of each origin, newest first. reasons: how many origins have which. total: all of them."""

    total: int
    reasons: dict[str, int]
    letters: list[dict[str, Any]]


class Again(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters to send again: with a reason, of one origin, or all of them. dry_run: only say what would be sent."""

    reason: str = ""
    origin: str = ""
    all: bool = False
    dry_run: bool = False


class Refusal(msgspec.Struct):
    """A letter that cannot be sent again, and why."""

    origin: str
    why: str


class Replayed(msgspec.Struct):
    """What was sent again."""

    sent: int
    refused: list[Refusal]


class Standing(msgspec.Struct):
    """How far a partition is. lag: records not shown yet. as_of: everything up to then is shown; null where it is not known."""

    position: int
    lag: int
    as_of: str | None


class Freshness(msgspec.Struct):
    """How fresh the serving view is. complete: whether every profile is there. as_of: the oldest partition's."""

    complete: bool
    as_of: str | None
    behind_s: float | None
    partitions: dict[str, Standing]


class Administration:
    """The handlers of all of these."""

    def __init__(self, settings: Settings, view: View, catalogue: Catalogue) -> None:
        self._settings = settings
        self._view = view
        self._catalogue = catalogue

    def operations(self) -> list[Operation]:
        """All of them."""
        version, one, letters = "/v1/definitions", "/v1/definitions/{version}", "/v1/dead-letters"
        read, write, send = "definitions", "definitions:write", "letters:write"
        return [
            Operation("version", "GET", version, read, "The version in force", self.version, {JSON: Version}),
            Operation("definitions", "GET", one, read, "A version's definitions", self.normal, {JSON: Normal}),
            Operation("check", "POST", f"{version}/check", read, "Check a draft", self.check, {JSON: Checked}, body=Draft),
            Operation(
                "apply", "POST", f"{version}/apply", write, "Make a draft current", self.apply, {JSON: Applied}, body=Draft,
                problems=(409, 422),
            ),
            Operation(
                "letters", "GET", letters, "letters", "Dead letters", self.letters, {JSON: Letters}, LettersQuery, audited=True,
            ),
            Operation(
                "replay", "POST", f"{letters}/replay", send, "Send dead letters through ingest again", self.replay,
                {JSON: Replayed}, body=Again, audited=True,
            ),
            Operation(
                "freshness", "GET", "/v1/freshness", "segments", "How fresh the serving view is", self.freshness,
                {JSON: Freshness},
            ),
        ]  # fmt: skip

    async def version(self, call: Call) -> Answer:
        """`GET /v1/definitions`."""
        version = self._catalogue.current
        if not version:
            raise Problem(503, NONE_YET, retry_s=5)
        return as_json(Version(version, self._settings.definitions_review))

    async def normal(self, call: Call) -> Answer:
        """`GET /v1/definitions/{version}`; `current` is a version too."""
        current = self._catalogue.current
        version = current if call.path["version"] == "current" else call.path["version"]
        text = self._catalogue.topic.entries.get(version) if VERSION.fullmatch(version) else None
        if text is None:
            raise Problem(404, f"there is no version {version!r} of the definitions")
        return as_json({"version": version, "current": version == current, "definitions": msgspec.Raw(text)})

    async def check(self, call: Call) -> Answer:
        """`POST /v1/definitions/check`."""
        return as_json(await run_in_threadpool(in_folder, call.body, _checked))

    async def apply(self, call: Call) -> Answer:
        """`POST /v1/definitions/apply`."""

        def work(folder: Path) -> Applied:
            done = apply_folder(self._settings, folder, by=actor(call.token))
            return Applied(done.version, done.previous, done.changed, done.partitions, done.switched)

        try:
            return as_json(await run_in_threadpool(in_folder, call.body, work))
        except DefinitionErrors as errors:
            words = "nothing was changed: the definitions have errors"
            raise Problem(422, words, errors=[str(error) for error in errors.errors]) from None
        except NotNow as reason:
            raise Problem(409, str(reason)) from None
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None

    async def letters(self, call: Call) -> Answer:
        """`GET /v1/dead-letters`."""
        try:
            return as_json(await run_in_threadpool(self._letters, call))
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None

    def _of(self, token: Token | None) -> Callable[[DeadLetter], bool]:
        """Whether a token may see a letter: its tenant is that of its source; one of no source needs all tenants."""
        tenants = {source.topic: source.tenant for source in self._settings.sources}
        mine = frozenset(token.tenants if token else ())
        everything = mine >= set(tenants.values())
        return lambda letter: tenants[letter.origin.topic] in mine if letter.origin.topic in tenants else everything

    def _letters(self, call: Call) -> Letters:
        query = call.query
        reasons: dict[str, int] = {}
        found = []
        for listed in list_letters(self._settings, origin=query.origin or None, wanted=self._of(call.token)):
            reasons[listed.letter.reason] = reasons.get(listed.letter.reason, 0) + 1
            if not query.reason or listed.letter.reason == query.reason:
                found.append(listed)
        newest = [msgspec.json.decode(listed.as_json()) for listed in reversed(found[-query.limit :])]
        if not call.personal:  # it may quote the value that was wrong
            newest = [{**letter, "detail": MASK} for letter in newest]
        return Letters(sum(reasons.values()), reasons, newest)

    async def replay(self, call: Call) -> Answer:
        """`POST /v1/dead-letters/replay`."""
        asked = call.body
        if asked.all == bool(asked.reason or asked.origin):
            raise Problem(400, "say which letters: a reason or an origin, or all of them")
        chosen = {"reason": asked.reason or None, "origin": asked.origin or None, "dry_run": asked.dry_run}
        mine = self._of(call.token)
        call.about |= {name: str(value) for name, value in chosen.items() if value}
        try:
            done = await run_in_threadpool(lambda: replay(self._settings, wanted=mine, **chosen))
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        return as_json(Replayed(done.sent, [Refusal(origin, why) for origin, why in done.refused]))

    async def freshness(self, call: Call) -> Answer:
        """`GET /v1/freshness`."""
        try:
            complete, found = await self._view.standing()
        except Away:
            raise Problem(503, "Redis does not answer", retry_s=1) from None
        essential = [one.as_of for name, one in found.items() if name.rpartition("/")[0] == self._settings.changelog]
        oldest = min(essential, default=0)
        return as_json(
            Freshness(
                complete,
                timestamps.rfc3339(oldest) if oldest else None,
                max(0, now_ms() - oldest) / 1_000 if oldest else None,
                {
                    name: Standing(one.position, one.lag, timestamps.rfc3339(one.as_of) if one.as_of else None)
                    for name, one in found.items()
                },
            )
        )


def in_folder(draft: Draft, work: Any) -> Any:
    """What `work` makes of the draft, written into a folder that is gone afterwards. Raises Problem."""
    wrong = [name for name in draft.files if not FILE.fullmatch(name)]
    if wrong:
        raise Problem(400, f"files: {wrong[0]!r} is no name of a YAML file (letters, digits, `_`, `-`; .yaml)")
    with tempfile.TemporaryDirectory(prefix="rtcdp-draft-") as folder:
        for name, text in draft.files.items():
            try:
                Path(folder, name).write_text(text, "utf-8")
            except UnicodeEncodeError:
                raise Problem(400, f"files: {name} is not Unicode") from None
        return work(Path(folder))


def _checked(folder: Path) -> Checked:
    report = check(folder)
    errors, warnings = ([Place(**asdict(one)) for one in found] for found in (report.errors, report.warnings))
    return Checked(report.ok, report.version, report.counts, errors, warnings)
