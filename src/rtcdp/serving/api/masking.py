"""Answers without personal values, for tokens without the scope `personal`.

What is personal is told by the definitions (`rules/personal.py`): those in force and those that the data was made under.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.explanation.explained import Explanation, Need, Part
from rtcdp.ingestion.identity import NAMESPACES
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.personal import MASK, Personal, personal_of
from rtcdp.sealing.pseudonyms import Pseudonyms
from rtcdp.serving.api.catalogue import NONE_YET, Catalogue
from rtcdp.serving.api.problems import Problem

Json = dict[str, Any]


class Masker:
    """Masks what a version of the definitions calls personal, and the version in force."""

    def __init__(self, catalogue: Catalogue, pseudonyms: Pseudonyms) -> None:
        self._catalogue = catalogue
        self.pseudonyms = pseudonyms
        self._known: dict[str, Personal] = {}

    def key(self, key: str) -> str:
        """A profile key with a pseudonym in place of its value."""
        return self.pseudonyms.of_profile(key)

    async def view(self, view: bytes) -> bytes:
        """A profile's view."""
        return msgspec.json.encode(await self.view_of(msgspec.json.decode(view)))

    async def view_of(self, view: Json) -> Json:
        """The same, decoded."""
        for personal in await self._personal(view.get("version", "")):
            view = {
                **view,
                "traits": personal.masked_traits(view.get("traits", {})),
                "features": personal.masked_values(view.get("features", {})),
                "tags": personal.masked_values(view.get("tags", {})),
            }
        tenant = view["key"].partition("/")[0]
        others = {self.key(f"{tenant}/{other}").partition("/")[2]: said for other, said in view.get("identifiers", {}).items()}
        return {**view, "key": self.key(view["key"]), "identifiers": others}

    async def tags(self, version: str, tags: Mapping[str, Any]) -> Json:
        """Tags by name."""
        found = dict(tags)
        for personal in await self._personal(version):
            found = personal.masked_values(found)
        return found

    async def payload(self, version: str, trigger: str, payload: Mapping[str, Any]) -> Json:
        """What a trigger sent along."""
        found = dict(payload)
        for personal in await self._personal(version):
            found = personal.masked_payload(trigger, found)
        return found

    def id(self, text: str) -> str:
        """The id of an output: it is a hash of the profile's key, among what everybody may know."""
        return self.pseudonyms.of(text)

    async def record(self, body: bytes) -> bytes:
        """A record of `profile-changes` or `triggers`."""
        record: Json = msgspec.json.decode(body)
        record["id"] = self.id(record.get("id", ""))
        data = record.get("data")
        if data is None:
            await self._change(record)
        else:
            record["subject"] = self.key(record.get("subject", ""))
            data["profile"] = record["subject"]
            data["payload"] = await self.payload(data.get("version", ""), data.get("trigger", ""), data.get("payload", {}))
        return msgspec.json.encode(record)

    async def _change(self, record: Json) -> None:
        record["profile"] = self.key(record.get("profile", ""))
        name = record.get("name", "")
        if record.get("kind") == "identity":
            record["name"] = self.key(name)
        elif record.get("kind") == "erased":
            record["new"] = [self.key(key) for key in record.get("new") or ()]
        elif any(name in personal.names for personal in await self._personal(record.get("version", ""))):
            record |= {field: MASK for field in ("old", "new") if field in record}

    async def explanation(self, found: Explanation) -> Explanation:
        """Why a definition has its value: where that speaks of something personal, without values."""
        several = await self._personal(found.version)
        hidden = any(found.name in personal.names for personal in several)
        return msgspec.structs.replace(
            found,
            profile=self.key(found.profile),
            value=MASK if hidden else found.value,
            becomes=MASK if hidden and found.becomes is not None else found.becomes,
            tree=_tree(found.tree, several) if found.tree else None,
            change=_need(found.change, several) if found.change else None,
        )

    async def _personal(self, version: str) -> list[Personal]:
        """Of a version, where it is known, and of that in force."""
        current = self._catalogue.current
        found = []
        for one in dict.fromkeys((version, current)):
            if one not in self._known:
                compiled = await run_in_threadpool(self._catalogue.compiled, one) if one else None
                if compiled is None and one == current:
                    raise Problem(503, NONE_YET, retry_s=5)
                if compiled is None:
                    continue
                self._known[one] = _personal_in(compiled)
            found.append(self._known[one])
        return found


def _personal_in(compiled: Compiled) -> Personal:
    definitions = compiled.definitions
    return personal_of(definitions, definitions.identity.namespaces or NAMESPACES)


def _tree(part: Part, several: list[Personal], *, inside: bool = False) -> Part:
    """A part without values where it, or what it is a part of, speaks of something personal."""
    hidden = inside or any(personal.mentions(part.text) or personal.mentions(part.definition) for personal in several)
    parts = [_tree(one, several, inside=hidden and part.kind in _VALUES) for one in part.parts]
    if not hidden:
        return msgspec.structs.replace(part, parts=parts)
    events = [msgspec.structs.replace(event, value=MASK) for event in part.events]
    value = part.value if isinstance(part.value, bool) or part.value is None else MASK
    return msgspec.structs.replace(part, value=value, events=events, counts=[], parts=parts)


_VALUES = frozenset({"feature", "tag", "trait"})
"""Kinds of parts whose own parts tell their value."""


def _need(need: Need, several: list[Personal]) -> Need:
    if need.text and any(personal.mentions(need.text) for personal in several):
        return msgspec.structs.replace(need, text=MASK)
    return msgspec.structs.replace(
        need, all=[_need(one, several) for one in need.all], any=[_need(one, several) for one in need.any]
    )
