"""A folder of YAML files to checked destinations, subscriptions and callbacks; every error with file, line and column."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping as AnyMapping
from pathlib import Path
from typing import Any, cast

from rtcdp.delivery import facts
from rtcdp.delivery.destinations import (
    REFUSED,
    RETRIES,
    SECOND,
    Callback,
    Destination,
    Outlets,
    Rate,
    Subscription,
)
from rtcdp.delivery.options import CALLBACK, DESTINATION, KINDS, RATE, SECTIONS, SELECTIONS, SUBSCRIPTION
from rtcdp.delivery.secrets import SecretReader
from rtcdp.delivery.templates import Part, parts, template
from rtcdp.errors import DefinitionError, DefinitionErrors
from rtcdp.rules.compiling.interpreter import condition
from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.loading.documents import LARGEST_FILE, Entry, Scalar, read_yaml
from rtcdp.rules.loading.reading import Reader

MOST_CONCURRENT = 1_000
LONGEST_TIMEOUT = 120 * SECOND
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED = re.compile(r"(?i)webhook-.*|host|content-length|transfer-encoding|connection")
_URL = re.compile(r"https?://[^/?#@\s]+(/.*)?", re.IGNORECASE | re.DOTALL)
SIGNED = "whsec_"

Entries = AnyMapping[str, Entry]


def load(folder: Path, *, secrets: bool = True) -> Outlets:
    """The destinations of a folder (or of one file).

    secrets: whether each secret has to be there; without, a placeholder stands for one that is not.

    Raises DefinitionErrors with everything that is wrong in it.
    """
    reader = Reader()
    root = folder if folder.is_dir() else folder.parent
    merged: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
    for name in _files(folder, reader):
        _merge(reader, name, (root / name).read_bytes(), merged)
    outlets = _Sections(reader, SecretReader(reader, root, required=secrets)).read(merged)
    if reader.errors:
        raise DefinitionErrors(sorted(dict.fromkeys(reader.errors), key=lambda error: (error.file, error.line, error.column)))
    return outlets


def _files(folder: Path, reader: Reader) -> list[str]:
    if folder.is_file():
        return [folder.name]
    found = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.y*ml"))
        if path.suffix in (".yaml", ".yml") and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        what = "the folder holds no .yaml file" if folder.is_dir() else "there is no such folder"
        reader.errors.append(DefinitionError(folder.name, 0, 0, what))
    return found


def _merge(reader: Reader, name: str, content: bytes, into: dict[str, dict[str, Entry]]) -> None:
    value = read_yaml(name, content[: LARGEST_FILE + 1], reader.errors)
    if value is None:
        return
    for section, entry in reader.mapping(value, "a file of destinations").items():
        if section not in into:
            message = f"unknown section '{section}': expected one of {listed(into)}"
            reader.fail(entry.key, message, did_you_mean(section, into))
            continue
        for key, one in reader.mapping(entry.value, f"'{section}'").items():
            if not _NAME.fullmatch(key):
                hint = "letters, digits, `_` and `-`, beginning with a letter, at most 64"
                reader.fail(one.key, f"'{key[:80]}' cannot be a name", hint)
            elif key in into[section]:
                known = into[section][key].key
                line, column = known.place()
                reader.fail(one.key, f"'{key}' is written twice", f"first in {known.source.file}:{line}:{column}")
            else:
                into[section][key] = one


class _Sections:
    """Reads the three sections."""

    def __init__(self, reader: Reader, secrets: SecretReader) -> None:
        self._reader = reader
        self._secrets = secrets

    def read(self, merged: AnyMapping[str, Entries]) -> Outlets:
        """All sections; what is wrong is in the reader's errors."""
        destinations = {name: self._destination(name, entry) for name, entry in merged["destinations"].items()}
        subscriptions = [self._subscription(name, entry, destinations) for name, entry in merged["subscriptions"].items()]
        callbacks = {name: self._callback(name, entry) for name, entry in merged["callbacks"].items()}
        return Outlets(
            {name: one for name, one in destinations.items() if one is not None},
            tuple(one for one in subscriptions if one is not None),
            {name: one for name, one in callbacks.items() if one is not None},
        )

    # Destinations

    def _destination(self, name: str, entry: Entry) -> Destination | None:
        found = self._reader.options(entry.value, DESTINATION, f"the destination '{name}'", entry.key)
        if found is None:
            return None
        kinds = [kind for kind in KINDS if kind in found]
        if len(kinds) != 1:
            self._reader.fail(entry.key, f"the destination '{name}' needs exactly one of {listed(KINDS)}")
            return None
        kind = kinds[0]
        only_http = [option for option in ("method", "headers", "secrets", "sign", "accept", "refused") if option in found]
        if kind != "url" and only_http:
            self._reader.fail(found[only_http[0]].key, f"'{only_http[0]}' belongs to a destination with 'url'")
        sign = self._reader.choice(found.get("sign"), DESTINATION["sign"], "standard")
        if "sign" in found and "secrets" not in found:
            self._reader.fail(found["sign"].key, "there is nothing to sign with", "add 'secrets'")
        retries = self._durations(found.get("retries"))
        return Destination(
            name,
            cast("Any", kind),
            self._address(kind, found[kind]),
            self._reader.choice(found.get("method"), DESTINATION["method"], "POST"),
            self._headers(found.get("headers")),
            self._keys(found.get("secrets"), prefixed=sign == "standard"),
            sign,
            condition(self._reader.condition(found.get("accept"), facts.ANSWER, f"destination {name}"), facts.READER),
            self._statuses(found.get("refused")),
            self._timeout(found.get("timeout")),
            self._reader.whole(found["concurrency"], 1, MOST_CONCURRENT) if "concurrency" in found else 16,
            self._rate(found.get("rate")),
            RETRIES if retries is None else retries,
        )

    def _address(self, kind: str, entry: Entry) -> tuple[Part, ...]:
        scalar = self._reader.scalar(entry.value, "an address" if kind != "file" else "a path")
        if scalar is None:
            return ()
        found = parts(scalar, facts.RECORD, self._reader, self._secrets)
        constant = found[0] if found and isinstance(found[0], str) else ""
        if kind == "url":
            match = _URL.fullmatch(constant)
            if match is None:
                hint = "user and password belong into the header Authorization" if "@" in constant.partition("?")[0] else ""
                self._reader.fail(scalar, "an address of the form https://HOST/PATH is expected", hint)
            elif len(found) > 1 and not match[1]:
                self._reader.fail(scalar, "the host must not depend on the record", "write a / before the first {")
        elif kind == "file" and len(found) > 1:
            self._reader.fail(scalar, "a file's path must not depend on the record")
        elif kind == "apprise" and "://" not in constant:
            self._reader.fail(scalar, "an Apprise address is expected, as mailtos://USER:PASSWORD@HOST?to={payload.email}")
        return tuple(found)

    def _headers(self, entry: Entry | None) -> dict[str, str]:
        found = {}
        for name, one in ({} if entry is None else self._reader.mapping(entry.value, "'headers'")).items():
            scalar = self._reader.scalar(one.value, "the header's text")
            if scalar is None:
                continue
            if not _HEADER.fullmatch(name) or _RESERVED.fullmatch(name):
                self._reader.fail(one.key, f"'{name}' cannot be a header here")
                continue
            text = self._secrets.text(scalar)
            if not text.isprintable():
                self._reader.fail(scalar, "a header's text has no control characters")
                continue
            found[name] = text
        return found

    def _keys(self, entry: Entry | None, *, prefixed: bool) -> tuple[bytes, ...]:
        found = []
        for scalar in self._reader.texts(entry, "a secret"):
            text = self._secrets.text(scalar)
            if text in ("", "secret"):
                continue  # an error already, or a placeholder
            key = _key(text) if prefixed else text.encode()
            if key is None:
                message = "a Standard Webhooks secret is whsec_ and 24 to 64 bytes in base64"
                self._reader.fail(scalar, message, "make one with: rtcdp deliveries secret")
            else:
                found.append(key)
        return tuple(found)

    def _statuses(self, entry: Entry | None) -> frozenset[int]:
        if entry is None:
            return REFUSED
        found = set()
        for scalar in self._reader.texts(entry, "an HTTP status"):
            if not re.fullmatch(r"[45]\d\d", scalar.text):
                self._reader.fail(scalar, f"an HTTP status from 400 to 599 is expected, not '{scalar.text[:20]}'")
            else:
                found.add(int(scalar.text))
        return frozenset(found)

    def _timeout(self, entry: Entry | None) -> int:
        found = self._reader.duration(entry, 1)
        if entry is not None and found is not None and found > LONGEST_TIMEOUT:
            self._reader.fail(entry.value, f"the timeout is at most {LONGEST_TIMEOUT // SECOND}s")
        return 15 * SECOND if found is None else found

    def _rate(self, entry: Entry | None) -> Rate | None:
        if entry is None:
            return None
        found = self._reader.options(entry.value, RATE, "a rate", entry.key)
        if found is None or "times" not in found or "per" not in found:
            return None
        per = self._reader.duration(found["per"], 1)
        return None if per is None else Rate(self._reader.whole(found["times"], 1, 1_000_000), per)

    def _durations(self, entry: Entry | None) -> tuple[int, ...] | None:
        if entry is None:
            return None
        found = [self._reader.duration(Entry(entry.key, scalar), 0) for scalar in self._reader.texts(entry, "a duration")]
        return tuple(one for one in found if one is not None)

    # Subscriptions

    def _subscription(self, name: str, entry: Entry, destinations: AnyMapping[str, Destination | None]) -> Subscription | None:
        found = self._reader.options(entry.value, SUBSCRIPTION, f"the subscription '{name}'", entry.key)
        if found is None or "to" not in found:
            return None
        to = self._reader.text(found["to"], "the name of a destination")
        if to and to not in destinations:
            hint = did_you_mean(to, destinations)
            self._reader.fail(found["to"].value, f"there is no destination '{to}'", hint)
        selected = {
            (kind, text.text)
            for option, kinds in SELECTIONS.items()
            for text in self._reader.texts(found.get(option), f'names of {option}, or "*"')
            for kind in kinds
        }
        if not selected:
            self._reader.fail(entry.key, f"the subscription '{name}' selects nothing", f"add one of {listed(SELECTIONS)}")
        where = self._reader.condition(found.get("where"), facts.RECORD, f"subscription {name}")
        return Subscription(
            name,
            to,
            frozenset(selected),
            condition(where, facts.READER),
            template(found["body"].value, facts.RECORD, self._reader) if "body" in found else None,
            self._reader.duration(found.get("expire"), 1) or 0,
            self._reader.flag(found.get("historical")),
            self._reader.flag(found["outcomes"]) if "outcomes" in found else None,
        )

    # Callbacks

    def _callback(self, name: str, entry: Entry) -> Callback | None:
        found = self._reader.options(entry.value, CALLBACK, f"the callback '{name}'", entry.key)
        if found is None:
            return None
        if ("secrets" in found) == ("token" in found):
            self._reader.fail(entry.key, f"the callback '{name}' needs either 'secrets' or 'token'")
        fields = {}
        for option in ("event", "profile", "user_id", "delivery", "at"):
            node = self._reader.expression(found[option].value, facts.REPORT, name) if option in found else None
            if node is not None:
                fields[option] = facts.compiled(node)
        token = self._reader.scalar(found["token"].value, "a token") if "token" in found else None
        return Callback(
            name,
            self._keys(found.get("secrets"), prefixed=True),
            self._secrets.text(token) if isinstance(token, Scalar) else "",
            fields,
            template(found["properties"].value, facts.REPORT, self._reader) if "properties" in found else None,
        )


def _key(text: str) -> bytes | None:
    """The bytes of a Standard Webhooks secret; None where it is none."""
    try:
        key = base64.b64decode(text.removeprefix(SIGNED), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if 24 <= len(key) <= 64 else None
