"""Destinations and how they are; deliveries that were given up, and making them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.delivery import dead, standing
from rtcdp.delivery.dead import Choice
from rtcdp.delivery.deliveries import DeadDelivery
from rtcdp.delivery.standing import Destination
from rtcdp.errors import ClusterError
from rtcdp.rules.personal import MASK
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.masking import Masker
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import Token
from rtcdp.settings.config import Settings


class Destinations(msgspec.Struct):
    """Every destination of the deliverers. watched: whether this server knows where they are; silent: who did not answer."""

    watched: bool
    destinations: list[Destination]
    silent: list[str]


class DeadQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead deliveries. destination, reason: only these. limit: how many, the newest."""

    destination: Annotated[str, msgspec.Meta(max_length=200)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=100)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class Dead(msgspec.Struct):
    """A delivery that was given up, without its body. id: "" and error masked without the scope `personal`."""

    id: str
    destination: str
    subscription: str
    reason: str
    error: str
    attempts: int
    at: str
    profile: str
    kind: str
    name: str


class DeadDeliveries(msgspec.Struct):
    """Deliveries that were given up, newest first. counts: destination to reason to how many. total: all of them."""

    total: int
    counts: dict[str, dict[str, int]]
    deliveries: list[Dead]


class Resend(msgspec.Struct, forbid_unknown_fields=True):
    """Which to deliver again: of a destination, with a reason, one by its id, or all. dry_run: only say how many."""

    destination: str = ""
    reason: str = ""
    id: str = ""
    all: bool = False
    dry_run: bool = False


class Resent(msgspec.Struct):
    """How many are delivered again."""

    sent: int


class Enabled(msgspec.Struct):
    """Which destination is on again."""

    destination: str


class Outgoing:
    """The handlers."""

    def __init__(self, settings: Settings, masker: Masker) -> None:
        self._settings = settings
        self._masker = masker

    def operations(self) -> list[Operation]:
        """All of them."""
        every, given_up = "/v1/destinations", "/v1/dead-deliveries"
        read, write = "letters", "letters:write"
        return [
            Operation(
                "destinations", "GET", every, read, "Where triggers and changes are sent, and how it goes", self.destinations,
                {JSON: Destinations},
            ),
            Operation(
                "enable", "POST", f"{every}/{{name}}/enable", write, "Turn a destination on that said 410", self.enable,
                {JSON: Enabled}, audited=True,
            ),
            Operation(
                "dead_deliveries", "GET", given_up, read, "Deliveries that were given up", self.dead, {JSON: DeadDeliveries},
                DeadQuery, audited=True,
            ),
            Operation(
                "resend", "POST", f"{given_up}/replay", write, "Deliver again what was given up", self.resend,
                {JSON: Resent}, body=Resend, audited=True,
            ),
        ]  # fmt: skip

    async def destinations(self, call: Call) -> Answer:
        """`GET /v1/destinations`."""
        places = self._settings.deliver_metrics
        found, silent = await run_in_threadpool(standing.look, places)
        return as_json(Destinations(bool(places), found, silent))

    async def enable(self, call: Call) -> Answer:
        """`POST /v1/destinations/{name}/enable`."""
        name = call.path["name"]
        found, _ = await run_in_threadpool(standing.look, self._settings.deliver_metrics)
        if name not in {one.name for one in found}:
            raise Problem(404, f"no deliverer that answers knows a destination {name!r}")
        call.about["destination"] = name
        try:
            await run_in_threadpool(dead.enable, self._settings, name)
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        return as_json(Enabled(name))

    async def dead(self, call: Call) -> Answer:
        """`GET /v1/dead-deliveries`."""
        try:
            return as_json(await run_in_threadpool(self._dead, call))
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None

    def _dead(self, call: Call) -> DeadDeliveries:
        query, mine = call.query, _of(call.token)
        choice = Choice(query.destination or None, query.reason or None)
        counts: dict[str, dict[str, int]] = {}
        found = []
        for one in dead.list_dead(self._settings, Choice(), wanted=mine):
            of_destination = counts.setdefault(one.delivery.destination, {})
            of_destination[one.reason] = of_destination.get(one.reason, 0) + 1
            if choice.fits(one):
                found.append(one)
        newest = [self._told(call, one) for one in reversed(found[-query.limit :])]
        return DeadDeliveries(sum(sum(one.values()) for one in counts.values()), counts, newest)

    def _told(self, call: Call, given_up: DeadDelivery) -> Dead:
        one, personal = given_up.delivery, call.personal
        if personal:
            call.profiles.append(one.profile)
        return Dead(
            one.id if personal else "",  # it begins with a hash of the profile's key
            one.destination,
            one.subscription,
            given_up.reason,
            one.error if personal or not one.error else MASK,  # a tool may quote what it was sent
            one.attempts,
            given_up.at,
            one.profile if personal else self._masker.key(one.profile),
            one.kind,
            one.name,
        )

    async def resend(self, call: Call) -> Answer:
        """`POST /v1/dead-deliveries/replay`."""
        asked: Resend = call.body
        if asked.all == bool(asked.destination or asked.reason or asked.id):
            raise Problem(400, "say which deliveries: a destination, a reason or an id, or all of them")
        call.about |= {name: str(value) for name, value in msgspec.structs.asdict(asked).items() if value}
        choice = Choice(asked.destination or None, asked.reason or None, asked.id or None)
        mine = _of(call.token)
        try:
            sent = await run_in_threadpool(lambda: dead.replay(self._settings, choice, dry_run=asked.dry_run, wanted=mine))
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
        return as_json(Resent(sent))


def _of(token: Token | None) -> Callable[[DeadDelivery], bool]:
    """Whether a token may know of a delivery: its profile's tenant has to be one of the token's."""
    mine = frozenset(token.tenants if token else ())
    return lambda one: one.delivery.profile.partition("/")[0] in mine
