"""Bearer tokens: who may ask what, of which tenants. Their file holds hashes, never a token."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rtcdp.errors import SettingError
from rtcdp.monitoring.metrics import now_ms
from rtcdp.serving.secret_file import SecretFile, hash_of
from rtcdp.settings.config import TENANT
from rtcdp.times import timestamps

SCOPES = {
    "profiles": "read profiles, and ask why",
    "segments": "read segments, their members and sizes, and triggers' figures",
    "stream": "follow changes and triggers as they happen",
    "personal": "see personal fields, identifiers and small groups in all of these; without it they are masked or withheld",
    "definitions": "read and check definitions",
    "definitions:write": "propose definitions, and put those in force that may be",
    "definitions:review": "approve or reject proposed definitions",
    "definitions:backtest": "see what a draft would have made of the recent past",
    "letters": "list dead letters and dead deliveries, and see how destinations are",
    "letters:write": "send dead letters and dead deliveries again, and turn destinations on",
    "privacy": "answer people: consent, export, correction, erasure",
    "audit": "read the audit log",
    "counts": "read published counts, which carry noise, and nothing else",
}
"""What a token may be for, and what that allows."""

PERSONAL = "personal"
"""The scope without which personal fields are masked and small groups withheld."""

_READ = ("profiles", "segments", "stream", "definitions")
ROLES = {
    "read": (*_READ, PERSONAL),
    "read-masked": _READ,
    "write-definitions": ("definitions", "definitions:write", "definitions:backtest"),
    "review-definitions": ("definitions", "definitions:review", "definitions:backtest"),
    "operate": ("segments", "definitions", "letters", "letters:write"),
    "privacy": ("profiles", PERSONAL, "privacy", "audit"),
    "publish": ("counts",),
}
"""What people and programs usually need, by a name for it. Who sends events has a write key of the collector, no token."""
COLLECT = "collect"
"""The role of the collector's write keys."""

PREFIX = "rtcdp_"
"""Every token begins so: scanners for leaked secrets find it."""
NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a token.

    id:      names it in lists and logs: the first digits of its hash.
    name:    whose it is.
    hash:    SHA-256 of the token, hex.
    scopes:  of SCOPES. tenants: whose profiles it may see.
    created, expires, revoked: RFC 3339; empty where that has not happened or never will.
    """

    id: str
    name: str
    hash: str
    scopes: list[str]
    tenants: list[str]
    created: str
    expires: str = ""
    revoked: str = ""

    @property
    def personal(self) -> bool:
        """Whether it shows personal fields."""
        return PERSONAL in self.scopes

    def active(self, now: int) -> bool:
        """Whether it opens anything at this instant (ms)."""
        return not self.revoked and (not self.expires or now < (timestamps.parse(self.expires) or 0))


def scopes_of(roles: Sequence[str], scopes: Sequence[str]) -> list[str]:
    """The scopes of some roles and these, each once. Raises SettingError for what is no role."""
    if COLLECT in roles:
        raise SettingError("role: who collects gets a write key, that opens nothing else: rtcdp collector keys add SOURCE")
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise SettingError(f"role: {', '.join(unknown)}: must be of {', '.join((COLLECT, *ROLES))}")
    return list(dict.fromkeys([scope for role in roles for scope in ROLES[role]] + list(scopes)))


class TokenFile:
    """The file of tokens. path: of the file."""

    def __init__(self, path: Path) -> None:
        self._file = SecretFile(path, "api_tokens", Token)

    def read(self) -> list[Token]:
        """All tokens, revoked ones too. Raises SettingError where the file cannot be read."""
        return self._file.read()

    def add(self, name: str, scopes: Sequence[str], tenants: Sequence[str], expires: str = "") -> tuple[Token, str]:
        """A new token, and its text: it is shown once and kept nowhere.

        expires: RFC 3339, or "" for never.

        Raises SettingError where one of these cannot be used.
        """
        made, text = new_token(name, scopes, tenants, expires)
        with self._file.locked():
            self._file.write([*self._file.read(), made])
        return made, text

    def revoke(self, token_id: str) -> Token:
        """End a token: a running server refuses it within two seconds. Raises SettingError where none has this id."""
        with self._file.locked():
            tokens = self._file.read()
            found = next((token for token in tokens if token.id == token_id and not token.revoked), None)
            if found is None:
                raise SettingError(f"id: there is no active token {token_id!r}")
            revoked = msgspec.structs.replace(found, revoked=_now())
            self._file.write([revoked if token is found else token for token in tokens])
        return revoked

    def state(self) -> object:
        """Something that differs once the file has changed."""
        return self._file.state()


class Tokens:
    """The tokens of a running server. extra: one that is in no file, and lives as long as the process."""

    def __init__(self, path: Path, extra: Token | None = None) -> None:
        self._file = TokenFile(path)
        self._extra = extra
        self._seen: object = None
        self._known: dict[str, Token] = {}
        self.reload()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Token]:
        return iter(self._known.values())

    def find(self, text: bytes) -> Token | None:
        """The active token with this text. Looked up by its hash, so that the time it takes tells nothing about others."""
        token = self._known.get(hash_of(text))
        return token if token is not None and token.active(now_ms()) else None

    def reload(self) -> None:
        """Read the file where it has changed. Keeps what it knows where that raises SettingError."""
        seen = self._file.state()
        if seen == self._seen and self._known:
            return
        known = {token.hash: token for token in self._file.read() if not token.revoked}
        if self._extra is not None:
            known[self._extra.hash] = self._extra
        self._known, self._seen = known, seen


def new_token(name: str, scopes: Sequence[str], tenants: Sequence[str], expires: str = "") -> tuple[Token, str]:
    """A token and its text. Raises SettingError where one of its parts cannot be used."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise SettingError(f"scope: {', '.join(unknown) or 'none'}: must be of {', '.join(SCOPES)}")
    if not NAME.fullmatch(name):
        raise SettingError(f"name: {name!r} is no name (1 to 64 printable characters)")
    wrong = [tenant for tenant in tenants if not TENANT.fullmatch(tenant)]
    if wrong or not tenants:
        raise SettingError(f"tenant: {', '.join(wrong) or 'none'}: lower case letters, digits, `_`, `-`")
    if expires and timestamps.parse(expires) is None:
        raise SettingError(f"expires: {expires!r} is no time (RFC 3339, for example 2027-01-01T00:00:00Z)")
    text = PREFIX + secrets.token_urlsafe(32)
    digest = hash_of(text.encode())
    token = Token(
        id=digest[:12], name=name, hash=digest, scopes=list(scopes), tenants=list(tenants), created=_now(), expires=expires
    )
    return token, text


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
