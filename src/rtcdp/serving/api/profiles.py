"""Questions about one profile: all of it, what holds now, what happened, and why."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.explanation.explained import Explanation
from rtcdp.explanation.explaining import UnknownName
from rtcdp.monitoring.metrics import now_ms
from rtcdp.queries.inspection import ProfileView
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.catalogue import Catalogue
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation, TenantQuery
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.view import Away, Filling, View
from rtcdp.times import timestamps

PROFILE = "/v1/profiles/{namespace}/{value}"


class Offer(msgspec.Struct):
    """A trigger that was sent to the profile and has not expired. at: when it was decided."""

    id: str
    trigger: str
    at: str
    expires_at: str
    channel: str = ""
    payload: dict[str, Any] = {}


class Now(msgspec.Struct, omit_defaults=True):
    """What holds for a profile now, for personalisation.

    as_of: up to which time this is true. segments: those it is in. stage: of its life, where the definitions have stages.
    """

    profile: str
    as_of: str
    segments: list[str]
    tags: dict[str, Any]
    offers: list[Offer]
    stage: str | None = None


class Timeline(msgspec.Struct):
    """What happened to a profile last: records of `profile-changes` and `triggers`, newest first."""

    profile: str
    records: list[dict[str, Any]]


class TimelineQuery(TenantQuery, forbid_unknown_fields=True):
    """limit: how many at most."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class WhyQuery(TenantQuery, forbid_unknown_fields=True):
    """at: the time to answer for: RFC 3339, or `now`; left out: the latest that the log tells."""

    at: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Why(Protocol):
    """Explains a definition's value for a profile, blocking. Raises UnknownName, Problem."""

    def explain(self, key: str, offset: int, name: str, at: int | None) -> Explanation:
        """key, offset: of the profile, and where in the changelog it is."""


class _Kept(msgspec.Struct):
    key: str
    now: str
    version: str = ""
    offset: int = -1
    segments: dict[str, msgspec.Raw] = {}
    tags: dict[str, Any] = {}
    stage: str | None = None


class _Data(msgspec.Struct):
    trigger: str
    expires_at: str
    channel: str = ""
    payload: dict[str, Any] = {}


class _Sent(msgspec.Struct):
    id: str
    time: str
    data: _Data


class _Named(msgspec.Struct):
    key: str


_named = msgspec.json.Decoder(_Named).decode
_kept = msgspec.json.Decoder(_Kept).decode
_sent = msgspec.json.Decoder(_Sent).decode


def operations(view: View, catalogue: Catalogue, why: Why, masker: Masker) -> list[Operation]:
    """Those of profiles."""
    asked = _Profiles(view, catalogue, why, masker)
    return [
        Operation(
            "profile",
            "GET",
            PROFILE,
            "profiles",
            "A profile, by any of its identifiers",
            asked.whole,
            {JSON: ProfileView},
            TenantQuery,
            audited=True,
        ),
        Operation(
            "now",
            "GET",
            f"{PROFILE}/now",
            "profiles",
            "Segments, tags, stage and open offers of a profile, for personalisation",
            asked.now,
            {JSON: Now},
            TenantQuery,
            audited=True,
            beside=True,
        ),
        Operation(
            "timeline",
            "GET",
            f"{PROFILE}/timeline",
            "profiles",
            "What happened to a profile last",
            asked.timeline,
            {JSON: Timeline},
            TimelineQuery,
            audited=True,
        ),
        Operation(
            "why",
            "GET",
            f"{PROFILE}/why/{{name}}",
            "profiles",
            "Why a definition has its value for a profile, until when, what would change it, and what was decided",
            asked.why,
            {JSON: Explanation},
            WhyQuery,
            audited=True,
        ),
    ]


class _Profiles:
    def __init__(self, view: View, catalogue: Catalogue, why: Why, masker: Masker) -> None:
        self._view = view
        self._catalogue = catalogue
        self._why = why
        self._masker = masker

    async def whole(self, call: Call) -> Answer:
        view, _ = await self._find(call)
        return Answer(view if call.personal else await self._masker.view(view))

    async def now(self, call: Call) -> Answer:
        view, offers = await self._find(call, offers=True)
        kept, now = _kept(view), now_ms()
        found = Now(
            profile=kept.key,
            as_of=kept.now,
            segments=list(kept.segments),
            tags=kept.tags,
            stage=kept.stage,
            offers=[offer for raw in offers if (offer := _offer(raw, now)) is not None],
        )
        if not call.personal:
            await self._mask(found, kept.version)
        return as_json(found)

    async def _mask(self, found: Now, version: str) -> None:
        mask = self._masker
        found.profile = mask.key(found.profile)
        found.tags = await mask.tags(version, found.tags)
        for offer in found.offers:
            offer.id = mask.id(offer.id)
            offer.payload = await mask.payload(version, offer.trigger, offer.payload)

    async def timeline(self, call: Call) -> Answer:
        view, _ = await self._find(call)
        key = _kept(view).key
        records = await self._view.recent(key, call.query.limit)
        if not call.personal:
            key, records = self._masker.key(key), [await self._masker.record(record) for record in records]
        return as_json({"profile": key, "records": [msgspec.Raw(record) for record in records]})

    async def why(self, call: Call) -> Answer:
        at = _instant(call.query.at)
        call.about["name"] = call.path["name"]
        view, _ = await self._find(call)
        kept = _kept(view)
        try:
            found = await run_in_threadpool(self._why.explain, kept.key, kept.offset, call.path["name"], at)
        except UnknownName as error:
            raise Problem(404, str(error)) from None
        return as_json(found if call.personal else await self._masker.explanation(found))

    async def _find(self, call: Call, *, offers: bool = False) -> tuple[bytes, list[bytes]]:
        return await find(self._view, self._catalogue, call, offers=offers)


async def find(view: View, catalogue: Catalogue, call: Call, *, offers: bool = False) -> tuple[bytes, list[bytes]]:
    """The view, and the offers where they are wanted, of the profile that a call names. Raises Problem."""
    namespace, value = call.path["namespace"], call.path["value"]
    identifier = catalogue.identifier(call.tenant, namespace, value)
    try:
        found = await view.profile(call.tenant, identifier, offers=offers)
    except Away:
        raise Problem(503, "Redis does not answer", retry_s=1) from None
    except Filling:
        raise Problem(503, "the serving view is being filled: this profile may be still to come", retry_s=5) from None
    if found is None:
        raise Problem(404, f"there is no profile with this {namespace}")
    call.profiles.append(_named(found[0]).key)
    return found


def _offer(raw: bytes, now: int) -> Offer | None:
    """A trigger event as an offer; None where it has expired."""
    event = _sent(raw)
    data = event.data
    if (timestamps.parse(data.expires_at) or 0) <= now:
        return None
    return Offer(event.id, data.trigger, event.time, data.expires_at, data.channel, data.payload)


def _instant(at: str) -> int | None:
    if not at:
        return None
    instant = now_ms() if at == "now" else timestamps.parse(at)
    if instant is None:
        raise Problem(400, f"at: {at!r} is no time (RFC 3339, for example 2027-03-01T00:00:00Z, or now)")
    return instant
