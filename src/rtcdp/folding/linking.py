"""Identifiers as actors: what each does when it is told whose it is. Pure decisions about one profile; `merging` does the rest.

An identifier's profile is the person's own, or an alias: then it keeps nothing but whose it is, and what reaches it is
passed on. An alias always points to a stronger identifier (priority of its namespace, then its key), so no cycle can
exist; a link the other way is turned round. Two users are never joined: an identifier that a second one claims is
detached for good, and what it does from then on stays its own. No table of identities exists: the log decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtcdp.ingestion.identity import NAMESPACES

if TYPE_CHECKING:
    from rtcdp.profile import Profile
    from rtcdp.rules.definitions import IdentityPlan

MOST_HOPS = 16
"""How often a record may be passed on: chains are as long as there are namespaces."""
PEOPLE = "user_id"
"""The namespace of which a person has one: two of them are two people."""


@dataclass(frozen=True)
class Answer:
    """What an identifier does about a link.

    kind: `nothing`; `give`: hand the state to `to` and become its alias; `tell`: `of` is told that it belongs to `to`;
          `detach`: be nobody's alias any more; `refuse`: two people are not made one.
    """

    kind: Literal["nothing", "give", "tell", "detach", "refuse"]
    of: str = ""
    to: str = ""


class Strength:
    """Which of two identifiers is the stronger, and how many of a kind a person may have.

    plan: `identity:` of the definitions.
    """

    def __init__(self, plan: IdentityPlan) -> None:
        namespaces = plan.namespaces or NAMESPACES
        self._priorities = {space.name: space.priority for space in namespaces}
        self._limits = {space.name: space.limit for space in namespaces}
        self._weakest = len(namespaces)

    def order(self, key: str) -> tuple[int, str]:
        """Less is stronger. Namespaces that are no longer defined are the weakest."""
        return self._priorities.get(namespace(key), self._weakest), key

    def limit(self, space: str) -> int:
        """Most identifiers of a namespace that a person may have."""
        return self._limits.get(space, 1)

    def answer(self, profile: Profile, to: str) -> Answer:
        """What the identifier of this profile does when it is told that it belongs to `to`."""
        mine, before = profile.key, profile.alias
        if to in (mine, before) or profile.detached:
            return Answer("nothing")
        if before:
            if namespace(before) == PEOPLE == namespace(to):
                return Answer("detach")
            return self._joined(before, to)
        if namespace(mine) == PEOPLE == namespace(to):
            return Answer("refuse")
        return self._joined(mine, to) if self.order(mine) < self.order(to) else Answer("give", mine, to)

    def _joined(self, one: str, other: str) -> Answer:
        """The weaker of two is told that it belongs to the stronger."""
        strong, weak = sorted((one, other), key=self.order)
        return Answer("tell", weak, strong)

    def too_many(self, profile: Profile, key: str) -> str:
        """The identifier that a profile lets go when `key` joins those it has; "" where there is room."""
        space = namespace(key)
        same = [(said, other) for other, said in profile.links.items() if namespace(other) == space]
        return min(same)[1] if len(same) >= self.limit(space) else ""

    def beyond(self, profile: Profile) -> list[str]:
        """Identifiers that a profile lets go once another's have joined its own: the oldest of each kind that is too many."""
        kinds: dict[str, list[tuple[list[Any], str]]] = {}
        for key, said in profile.links.items():
            kinds.setdefault(namespace(key), []).append((said, key))
        return [
            key
            for space, found in sorted(kinds.items())
            if len(found) > self.limit(space)
            for _, key in sorted(found)[: len(found) - self.limit(space)]
        ]


def one_more(hops: int) -> int:
    """Count a passing on. Raises ValueError where a record has been passed on too often: no chain is that long."""
    if hops >= MOST_HOPS:
        message = f"passed on {hops} times"
        raise ValueError(message)
    return hops + 1


def namespace(key: str) -> str:
    """The namespace of a profile key."""
    return key.partition("/")[2].partition(":")[0]
