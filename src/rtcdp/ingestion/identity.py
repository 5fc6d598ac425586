"""Who an event belongs to: namespaces, normal forms, the block list, and the profile key.

The profile key names a profile everywhere (Kafka keys, the changelog, outputs), for good:
`<tenant>/<namespace>:<normalised value>` as UTF-8, with `%`, `/`, `:` and control characters in the value
percent-escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from rtcdp.ingestion.cleaning import clean_text
from rtcdp.rules.definitions import IdentityPlan, Namespace

MAX_VALUE = 256
"""Code points of an identifier; a longer one is treated as absent. A key is then at most 1 KiB and a little."""

NAMESPACES: tuple[Namespace, ...] = (
    Namespace("user_id", 0, ("userId",)),
    Namespace(
        "member_card",
        1,
        ("context.externalIds.member_card", "traits.member_card", "context.traits.member_card"),
    ),
    Namespace("unionid", 2, ("context.externalIds.unionid", "traits.unionid", "context.traits.unionid")),
    Namespace("openid", 3, ("context.externalIds.openid", "traits.openid", "context.traits.openid")),
    Namespace("phone", 4, ("context.externalIds.phone", "traits.phone", "context.traits.phone"), "phone"),
    Namespace("email", 5, ("context.externalIds.email", "traits.email", "context.traits.email"), "lower"),
    Namespace("device", 6, ("context.externalIds.device", "context.device.id"), limit=16),
    Namespace("anonymous_id", 7, ("anonymousId",)),
)
"""The built-in namespaces, strongest first, and where an event carries them.

A path is `userId`, `anonymousId`, or begins with `traits.` or `context.`; `context.externalIds.TYPE` is the `id` of the
first entry `{"id": ..., "type": TYPE}` of that list.
"""

_BLOCKED_WORDS = """
    null nil none undefined nan n/a na -1 ? _ {} [] true false anonymous anon guest unknown unidentified notset not-set
    not_set
"""
BLOCKED = frozenset(_BLOCKED_WORDS.split()) | {"(not set)", "[object object]"}
"""Values that many producers send in place of an identifier, in lower case: treated as absent.

Besides them: the empty text, and texts of zeros and hyphens alone (`0`, the nil UUID, an unset advertising id).
"""

_ZEROS = re.compile(r"[0-]+")
_TENANT = re.compile(r"[a-z0-9_-]+")
_NAMESPACE = re.compile(r"[a-z0-9_]+")
_UNSAFE = re.compile(r"[%/:\x00-\x1f\x7f-\x9f]")
_PHONE_MARKS = str.maketrans("", "", " -.()/\u00a0\u2010\u2011\u2012\u2013\u2014\u2212")
_PHONE = re.compile(r"\+?[0-9]{7,15}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CACHED = 65_536


class ProfileKey(NamedTuple):
    """The parts of a profile key; `value` unescaped."""

    tenant: str
    namespace: str
    value: str


def profile_key(tenant: str, namespace: str, value: str) -> bytes:
    """The key of a profile. `value` must be normalised and not empty.

    Raises ValueError for a tenant or namespace that a key cannot hold, or an empty value.
    """
    if not _TENANT.fullmatch(tenant) or not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"no profile key can be made of tenant {tenant!r} and namespace {namespace!r}")
    if not value:
        raise ValueError("no profile key can be made of an empty value")
    return f"{tenant}/{namespace}:{_UNSAFE.sub(_escape, value)}".encode()


def parse_profile_key(key: bytes) -> ProfileKey:
    """The parts of what `profile_key` made. Raises ValueError for anything else."""
    tenant, slash, rest = key.decode().partition("/")
    namespace, colon, value = rest.partition(":")
    if not slash or not colon:
        raise ValueError(f"not a profile key: {key!r}")
    parts = ProfileKey(tenant, namespace, unquote(value, errors="strict"))
    if profile_key(*parts) != key:
        raise ValueError(f"not a profile key: {key!r}")
    return parts


def normalise(value: object, form: str) -> str:
    """The normal form of an identifier as sent (text or whole number), or "" where it cannot be one.

    form: `exact` (white space at both ends and control characters removed, NFC), `lower` (also lower case), `email`
    (lower case, one `@` with something on both sides), `phone` (E.164: punctuation removed, a leading `00` is `+`;
    without either the digits stay as they are, because nothing says which country they belong to).
    """
    kind = type(value)
    if kind is float and value.is_integer():  # type: ignore[attr-defined]  # just checked
        value = int(value)  # type: ignore[call-overload]  # just checked
        kind = int
    if kind is int:
        text = str(value)
    elif kind is str:
        text = clean_text(value).strip()  # type: ignore[arg-type]  # just checked
    else:
        return ""
    if not text or len(text) > MAX_VALUE:
        return ""
    return _FORMS[form](text)


def blocked(value: str, extra: frozenset[str] = frozenset()) -> bool:
    """Whether a normalised value stands for "nobody". `extra` is the user's own list, in lower case."""
    lower = value.casefold()
    return lower in BLOCKED or lower in extra or _ZEROS.fullmatch(lower) is not None


class Resolver:
    """Reads the identifiers of an event and makes the key of the strongest.

    plan:   `identity:` of the definitions; its namespaces, or the built-in ones where it names none.
    tenant: of the source.
    """

    def __init__(self, plan: IdentityPlan, tenant: str) -> None:
        self._tenant = tenant
        self._extra = frozenset(text.casefold() for text in plan.blocked)
        namespaces = sorted(plan.namespaces or NAMESPACES, key=lambda each: each.priority)
        for space in namespaces:
            profile_key(tenant, space.name, "x")  # a wrong name is found here, not at the first event
        self._lookups = [(space.name, form_of(space), path, _reader(path)) for space in namespaces for path in space.paths]
        self._user_form = _form_at(namespaces, "userId")
        self._anonymous_form = _form_at(namespaces, "anonymousId")
        name, _, first, _ = self._lookups[0]
        self._first = name if first == "userId" else ""
        paths = [path.split(".") for _, _, path, _ in self._lookups]
        self._trait_names = frozenset(path[1] for path in paths if path[0] == "traits")
        self._context_names = frozenset(path[1] for path in paths if path[0] == "context")
        self.exempt = frozenset(".".join(path) for path in paths if len(path) > 1)
        self._users: dict[str, tuple[str, bytes | None]] = {}
        self._anonymous: dict[str, str] = {}
        self._keys: dict[str, dict[str, bytes]] = {space.name: {} for space in namespaces}

    def user(self, value: object, fixes: Counter[str]) -> tuple[str, bytes | None]:
        """Normal form of `userId` and, where nothing is stronger, the profile key; as `user_id`."""
        known = self._users.get(value) if type(value) is str else None  # 1, 1.0 and True are one key of a dict
        if known is not None:
            return known
        normal = self._normal(value, self._user_form, fixes)
        found = (normal, self._key(self._first, normal) if normal and self._first else None)
        if normal and type(value) is str:  # what is not usable is not kept, so that it is counted each time
            if len(self._users) >= _CACHED:
                self._users.clear()
            self._users[value] = found
        return found

    def user_id(self, value: object, fixes: Counter[str]) -> str:
        """Normal form of `userId`; "" where it is absent or blocked (counted in `fixes` as `identifiers`)."""
        return self.user(value, fixes)[0]

    def anonymous_id(self, value: object, fixes: Counter[str]) -> str:
        """Normal form of `anonymousId`; as `user_id`."""
        known = self._anonymous.get(value) if type(value) is str else None
        if known is not None:
            return known
        normal = self._normal(value, self._anonymous_form, fixes)
        if normal and type(value) is str:
            if len(self._anonymous) >= _CACHED:
                self._anonymous.clear()
            self._anonymous[value] = normal
        return normal

    def identifier(self, value: object, fixes: Counter[str]) -> str:
        """Normal form of an identifier of no namespace (a group's); as `user_id`."""
        return self._normal(value, "exact", fixes)

    def key(
        self, user_id: str, anonymous_id: str, traits: Mapping[str, Any], context: Mapping[str, Any], fixes: Counter[str]
    ) -> bytes | None:
        """The profile key of the strongest identifier, or None where the event has none.

        user_id, anonymous_id: normalised (the methods above). traits: of the profile itself, not of a group.
        """
        if user_id and self._first:
            return self._key(self._first, user_id)
        inside = not (self._trait_names.isdisjoint(traits) and self._context_names.isdisjoint(context))
        for name, form, path, read in self._lookups:
            if path == "userId":
                value = user_id
            elif path == "anonymousId":
                value = anonymous_id
            elif inside:
                value = self._normal(read(traits, context), form, fixes)
            else:
                continue
            if value:
                return self._key(name, value)
        return None

    def all_keys(
        self, user_id: str, anonymous_id: str, traits: Mapping[str, Any], context: Mapping[str, Any], fixes: Counter[str]
    ) -> list[bytes]:
        """The profile keys of all identifiers of an event, strongest first. Arguments: as of `key`."""
        found: dict[bytes, None] = {}
        for name, form, path, read in self._lookups:
            if path == "userId":
                value = user_id
            elif path == "anonymousId":
                value = anonymous_id
            else:
                value = self._normal(read(traits, context), form, fixes)
            if value:
                found[self._key(name, value)] = None
        return list(found)

    def _key(self, namespace: str, value: str) -> bytes:
        keys = self._keys[namespace]
        key = keys.get(value)
        if key is None:
            key = profile_key(self._tenant, namespace, value)
            if len(keys) >= _CACHED:
                keys.clear()
            keys[value] = key
        return key

    def _normal(self, value: object, form: str, fixes: Counter[str]) -> str:
        if value is None or value == "":
            return ""
        normal = normalise(value, form)
        if not normal or blocked(normal, self._extra):
            fixes["identifiers"] += 1
            return ""
        return normal


Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], object]


def _reader(path: str) -> Reader:
    """A function (traits, context) -> the value at a path of a namespace; None where there is none."""
    root, *names = path.split(".")

    def read(traits: Mapping[str, Any], context: Mapping[str, Any]) -> object:
        value: object = traits if root == "traits" else context if root == "context" else None
        for name in names:
            if isinstance(value, list):
                value = _of_type(value, name)
            elif isinstance(value, dict):
                value = value.get(name)
            else:
                return None
        return value

    return read


def _of_type(entries: list[Any], kind: str) -> object:
    """The id of the first of Segment's external ids that is of a type."""
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") == kind:
            return entry.get("id")
    return None


def form_of(space: Namespace) -> str:
    """The normal form, as `normalise` knows it, of a namespace's identifiers."""
    return "email" if space.name == "email" and space.normalise == "lower" else space.normalise


def _form_at(namespaces: list[Namespace], path: str) -> str:
    return next((form_of(space) for space in namespaces if path in space.paths), "exact")


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _phone(text: str) -> str:
    digits = "".join(str(int(char)) if char.isdecimal() else char for char in text.translate(_PHONE_MARKS))
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    return digits if _PHONE.fullmatch(digits) else ""


def _lower(text: str) -> str:
    lower = clean_text(text.casefold())
    return lower if len(lower) <= MAX_VALUE else ""


def _email(text: str) -> str:
    lower = _lower(text)
    return lower if _EMAIL.fullmatch(lower) else ""


_FORMS: Mapping[str, Callable[[str], str]] = {
    "exact": lambda text: text,
    "lower": _lower,
    "email": _email,
    "phone": _phone,
}
