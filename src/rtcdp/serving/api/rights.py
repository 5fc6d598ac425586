"""What a person may ask for: answers about consent, read and set. What is set becomes a command of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.control import commands
from rtcdp.errors import ClusterError, SettingError
from rtcdp.privacy import correcting, splitting
from rtcdp.privacy.correcting import MOST_EVENTS, MOST_TRAITS
from rtcdp.privacy.erasure import Receipt, receipt
from rtcdp.privacy.export import export
from rtcdp.privacy.splitting import Apart
from rtcdp.queries.answering import LONGEST_REASON, MOST_ANSWERS, Standing, command_of
from rtcdp.queries.inspection import AnswerView, stored_at
from rtcdp.queries.keys import normal_key
from rtcdp.records import Erase, PersonalCommand
from rtcdp.sealing.pseudonyms import MARK
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.auditing import Auditor
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.profiles import PROFILE, find
from rtcdp.serving.api.view import View
from rtcdp.settings.config import Settings

T = TypeVar("T")

PRIVACY = "privacy"


class Answers(msgspec.Struct, forbid_unknown_fields=True):
    """What a person agrees to.

    answers: by purpose, `@channel` or `purpose@channel`: yes, no, or null: as if it had never been asked.
    until:   when answers about channels end by themselves (RFC 3339). reason: why, for the record.
    """

    answers: Annotated[dict[str, bool | None], msgspec.Meta(min_length=1, max_length=MOST_ANSWERS)]
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""
    until: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Correction(msgspec.Struct, forbid_unknown_fields=True):
    """What is wrong, at least one thing. reason: why, for the record.

    traits: right values by name; null removes one. without: message ids of events that are as if they had never been.
    """

    traits: Annotated[dict[str, Any], msgspec.Meta(max_length=MOST_TRAITS)] = {}
    without: Annotated[list[str], msgspec.Meta(max_length=MOST_EVENTS)] = []
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


class Parting(msgspec.Struct, forbid_unknown_fields=True):
    """An identifier that is not theirs, as NAMESPACE:VALUE; with the pseudonym that stands for it without the scope `personal`.

    reason: why, for the record.
    """

    identifier: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_REASON)]
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


class Erasure(msgspec.Struct, forbid_unknown_fields=True):
    """Everything of the person is to go. reason: why, for the record; it is kept, so it must name nobody."""

    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


class Row(msgspec.Struct):
    """A record. place: `topic/partition/offset`; written: when (RFC 3339)."""

    place: str
    written: str
    record: Any


class Held(msgspec.Struct):
    """All that is held about a person.

    asked: the key asked for. profile: as it stands, with the names of the definitions; state: as it is stored.
    identifiers: every profile key of the person. log: what was recorded; changes, triggers: what was concluded and sent.
    deliveries, undelivered: what waits, and what could not be delivered.
    commands, letters: what was asked for them, and dead letters that carry one of their identifiers.
    """

    asked: str
    profile: dict[str, Any]
    state: dict[str, Any]
    identifiers: list[str]
    log: list[Row]
    changes: list[Row]
    triggers: list[Row]
    deliveries: list[Row]
    undelivered: list[Row]
    commands: list[Row]
    letters: list[Row]


class Request(msgspec.Struct):
    """A request that was taken: it takes effect within a second. id: names it in the record of its effect.

    approximate: features that are not exact, since the log begins later than they do (where events are left out).
    """

    id: str
    approximate: list[str] = []


class _Consent(msgspec.Struct):
    key: str
    consent: dict[str, AnswerView] = {}


_consent = msgspec.json.Decoder(_Consent).decode


class Rights:
    """The handlers. masker: hides who it is from tokens that may not know; audit: where requests are written down first."""

    def __init__(self, settings: Settings, view: View, catalogue: Catalogue, masker: Masker, audit: Auditor) -> None:
        self._audit = audit
        self._settings = settings
        self._view = view
        self._catalogue = catalogue
        self._masker = masker

    def operations(self) -> list[Operation]:
        """All of them."""
        return [
            Operation(
                "consent", "GET", f"{PROFILE}/consent", "profiles", "What a person agrees to", self.consent, {JSON: Standing},
                TenantQuery, audited=True,
            ),
            Operation(
                "set-consent", "POST", f"{PROFILE}/consent", PRIVACY, "Set what a person agrees to", self.agree,
                {JSON: Request}, TenantQuery, body=Answers,
            ),
            Operation(
                "correct", "POST", f"{PROFILE}/correct", PRIVACY, "Put right what is wrong about a person", self.correct,
                {JSON: Request}, TenantQuery, body=Correction,
            ),
            Operation(
                "split", "POST", f"{PROFILE}/split", PRIVACY, "Take an identifier that is not theirs out of a person",
                self.split, {JSON: Apart}, TenantQuery, body=Parting,
            ),
            Operation(
                "erase", "POST", f"{PROFILE}/erase", PRIVACY, "Erase a person and every identifier ever linked", self.erase,
                {JSON: Request}, TenantQuery, body=Erasure,
            ),
            Operation(
                "export", "GET", f"{PROFILE}/export", PRIVACY, "All that is held about a person", self.export,
                {JSON: Held}, TenantQuery, audited=True,
            ),
            Operation(
                "receipt", "GET", "/v1/erasures/{request}", PRIVACY, "What shows that an erasure was done", self.receipt,
                {JSON: Receipt},
            ),
        ]  # fmt: skip

    async def consent(self, call: Call) -> Answer:
        """`GET .../consent`."""
        view, _ = await find(self._view, self._catalogue, call)
        found = _consent(view)
        return as_json(Standing(found.key if call.personal else self._masker.key(found.key), found.consent))

    async def agree(self, call: Call) -> Answer:
        """`POST .../consent`."""
        asked = call.body
        definitions = await run_in_threadpool(self._catalogue.definitions)
        try:
            command = command_of(asked.answers, definitions, by=_by(call), reason=asked.reason, until=asked.until)
        except SettingError as error:
            raise Problem(400, str(error)) from None
        return await self._send("set-consent", call, command)

    async def correct(self, call: Call) -> Answer:
        """`POST .../correct`. Where events are left out, it answers once they are."""
        asked = call.body
        if not (asked.traits or asked.without):
            raise Problem(400, "say what is wrong: traits to set or remove, or events to leave out")
        try:
            command = correcting.command_of(asked.traits, by=_by(call), reason=asked.reason)
        except SettingError as error:
            raise Problem(400, str(error)) from None
        if not asked.without:
            return await self._send("correct", call, command)
        key, call.about["request"] = self._key(call), command.id
        await self._audit.done("correct", call, [key])
        found = await self._asked(lambda: correcting.leave_out(self._settings, key, command, sorted(set(asked.without))))
        if found is None:
            raise Problem(404, "nothing is known of this identifier")
        return as_json(Request(command.id, found.approximate))

    async def split(self, call: Call) -> Answer:
        """`POST .../split`. It answers once both are two."""
        asked, key = call.body, self._key(call)
        leaving = await self._leaving(call.tenant, key, asked.identifier)
        call.about["reason"] = asked.reason
        await self._audit.done("split", call, [key, leaving])
        found = await self._asked(lambda: splitting.split(self._settings, key, leaving, by=_by(call), reason=asked.reason))
        if found is None:
            raise Problem(404, "the identifier is not this person's")
        return as_json(found if call.personal else self._hidden(found))

    async def _leaving(self, tenant: str, key: str, identifier: str) -> str:
        """The profile key of an identifier of a person (`key`), who may see no identifiers names it by its pseudonym."""
        asked = f"{tenant}/{identifier}"
        if identifier.partition(":")[2].startswith(MARK):
            stored = await self._read(lambda: stored_at(self._settings, key))
            mine = () if stored is None else (stored.profile.key, *stored.profile.links)
            named = next((one for one in mine if self._masker.key(one) == asked), None)
            if named is not None:
                return named
        definitions = await run_in_threadpool(self._catalogue.definitions)
        try:
            return normal_key(asked, definitions).decode()
        except SettingError as error:
            raise Problem(400, str(error)) from None

    def _hidden(self, found: Apart) -> Apart:
        """The same without saying who it is about."""
        hide = self._masker.key
        return msgspec.structs.replace(
            found,
            person=hide(found.person),
            identifier=hide(found.identifier),
            other=hide(found.other),
            along=[hide(key) for key in found.along],
        )

    async def erase(self, call: Call) -> Answer:
        """`POST .../erase`."""
        return await self._send("erase", call, Erase(id=commands.new_id(), by=_by(call), reason=call.body.reason))

    async def export(self, call: Call) -> Answer:
        """`GET .../export`."""
        if not call.personal:
            raise Problem(403, "the token may not see personal data, which is all that this is (scope personal)")
        key = self._key(call)
        found = await self._read(lambda: export(self._settings, key))
        if found is None:
            raise Problem(404, "nothing is held about this identifier")
        await self._audit.done("export", call, list(dict.fromkeys((key, found["profile"]["key"]))))
        return as_json(msgspec.convert(found, Held))

    async def receipt(self, call: Call) -> Answer:
        """`GET /v1/erasures/{request}`."""
        found = await self._read(lambda: receipt(self._settings, call.path["request"]))
        if found is None:
            raise Problem(404, "there is no mark of this request, or not yet")
        return as_json(found)

    @staticmethod
    async def _read(call: Callable[[], T]) -> T:
        try:
            return await run_in_threadpool(call)
        except (ClusterError, SettingError) as error:
            raise Problem(503, str(error), retry_s=1) from None

    @staticmethod
    async def _asked(call: Callable[[], T]) -> T:
        """Something that a worker does, waited for; what is wrong with the request is said."""
        try:
            return await run_in_threadpool(call)
        except SettingError as error:
            raise Problem(400, str(error)) from None
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None

    def _key(self, call: Call) -> str:
        """The profile key that the path names."""
        return f"{call.tenant}/{self._catalogue.identifier(call.tenant, call.path['namespace'], call.path['value'])}"

    async def _send(self, what: str, call: Call, command: PersonalCommand) -> Answer:
        key = self._key(call)
        call.about["request"] = command.id
        await self._audit.done(what, call, [key])
        try:
            await run_in_threadpool(commands.send, self._settings, key.encode(), command)
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        return as_json(Request(command.id))


def _by(call: Call) -> str:
    """Who asks: the token's name."""
    return call.token.name if call.token is not None else ""
