"""Whether definitions may be put in force: what lies in the topic `definitions` of drafts and of what was said of them.

A draft is named by the version of its definitions, a hash of what they mean: a review speaks of exactly that and of nothing
that is written later. Keys: `draft/<version>`, `review/<version>/<who>`, `published/<version>`; each is written by one side
alone, so two people who act at the same time lose nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from rtcdp.control.audit import Actor
from rtcdp.control.versions import SHADOW_MARK
from rtcdp.errors import RtcdpError
from rtcdp.settings.config import Settings

DRAFT, REVIEW, PUBLISHED = "draft/", "review/", "published/"

Verdict = Literal["approve", "reject"]
State = Literal["draft", "reviewed", "rejected", "published"]
T = TypeVar("T")


class NotNow(RtcdpError):
    """The state of a draft does not allow this, or nobody has proposed it."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What was proposed.

    files: YAML by name, as it was written. normal: what it means, from which it is put in force. shadow: to be evaluated beside
    what is in force. by, at: who and when (RFC 3339).
    """

    version: str
    files: dict[str, str]
    normal: str
    shadow: bool = False
    by: Actor
    at: str
    note: str = ""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said of a draft."""

    by: Actor
    at: str
    verdict: Verdict
    note: str = ""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Who put a version in force, and when last."""

    by: Actor
    at: str


class Standing(msgspec.Struct, kw_only=True):
    """A draft, and how it stands.

    state: `draft` while a review is missing; `reviewed` when it may be put in force; `rejected`; `published`.
    """

    version: str
    state: State
    by: Actor
    at: str
    note: str
    reviews: list[Review]
    published: Published | None

    def __str__(self) -> str:
        """One line: version, state, who, when, who said what, the note."""
        said = ", ".join(f"{one.by.name or one.by.id}: {one.verdict}" for one in self.reviews)
        parts = (self.version, self.state, self.by.name or self.by.id, self.at, said or "-", self.note or "-")
        return "\t".join("".join(char if char.isprintable() else " " for char in part) for part in parts)


def standing_of(settings: Settings, entries: Mapping[str, bytes], version: str) -> Standing | None:
    """How a draft stands; None where nobody has proposed this version."""
    draft = entry_of(entries, DRAFT + version, Draft)
    if draft is None:
        return None
    published = entry_of(entries, PUBLISHED + version, Published)
    reviews = list(reviews_of(entries, version))
    state: State = "draft"
    if published is not None:
        state = "published"
    elif any(one.verdict == "reject" for one in reviews):
        state = "rejected"
    elif reviews and approved(settings, entries, version):
        state = "reviewed"
    return Standing(
        version=version, state=state, by=draft.by, at=draft.at, note=draft.note, reviews=reviews, published=published
    )


def approved(settings: Settings, entries: Mapping[str, bytes], version: str) -> bool:
    """Whether a version may be put in force: as the setting `definitions_review` wants it, and nobody rejects it.

    entries: of the topic `definitions`.
    """
    if settings.definitions_review == "none":
        return True
    draft = entry_of(entries, DRAFT + version, Draft)
    reviews = list(reviews_of(entries, version))
    if draft is None or any(one.verdict == "reject" for one in reviews):
        return False
    four = settings.definitions_review == "four-eyes"
    return any(one.verdict == "approve" and not (four and same_person(one.by, draft.by)) for one in reviews)


def insist(settings: Settings, entries: Mapping[str, bytes], version: str) -> None:
    """Raises NotNow where a version may not be put in force without a review."""
    if not approved(settings, entries, version.removesuffix(SHADOW_MARK)):
        raise NotNow(
            f"the definitions {version} have not been reviewed (definitions_review: {settings.definitions_review}): "
            "propose them with `rtcdp drafts propose`"
        )


def reviews_of(entries: Mapping[str, bytes], version: str) -> Iterator[Review]:
    """What was said of a version, in order."""
    prefix = f"{REVIEW}{version}/"
    found = [entry_of(entries, key, Review) for key in list(entries) if key.startswith(prefix)]
    yield from sorted((one for one in found if one is not None), key=lambda one: one.at)


def entry_of(entries: Mapping[str, bytes], key: str, kind: type[T]) -> T | None:
    """An entry of the topic `definitions`; None where there is none that can be read."""
    value = entries.get(key)
    try:
        return None if value is None else msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # a newer release's: it counts as not there, so it approves nothing


def same_person(one: Actor, other: Actor) -> bool:
    """Whether two are one person: the same token, or two tokens of one name."""
    return one.id == other.id or (bool(one.name) and one.name == other.name)
