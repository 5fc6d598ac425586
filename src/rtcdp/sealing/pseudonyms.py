"""Names for profiles that tell nothing about them: a keyed hash in place of the identifier.

They stand in answers to whoever may not see identifiers, and in the audit log, which is kept longer
than a person's data may be.
The key is a file of its own. Who has it can find out whose a pseudonym is by trying identifiers; nobody else can.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rtcdp.errors import SettingError

KEY_BYTES = 32
NONCE_BYTES = 12
LENGTH = 15
"""Bytes of the hash that are kept: two of 10^12 names are the same with a chance of 10^-12."""
MARK = "~"
"""Begins a pseudonym; in a profile key no value can begin so by chance and mean one, as its length differs."""


class Pseudonyms:
    """Makes pseudonyms under one key. key: secret bytes."""

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)
        self._sealing = AESGCM(hmac.digest(key, b"sealed", "sha256"))

    def of(self, text: str) -> str:
        """The pseudonym of a text: the same one each time."""
        keyed = self._keyed.copy()
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return MARK + base64.urlsafe_b64encode(keyed.digest()[:LENGTH]).decode()

    def of_profile(self, key: str) -> str:
        """A profile key with its value replaced: `main/user_id:u42` becomes `main/user_id:~...`."""
        head, colon, _ = key.partition(":")
        return f"{head}{colon}{self.of(key)}" if colon else self.of(key)

    def sealed(self, text: bytes) -> bytes:
        """A text that only `opened` can read."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._sealing.encrypt(nonce, text, None)

    def opened(self, sealed: bytes) -> bytes:
        """What was sealed. Raises ValueError where it was not, under this key."""
        try:
            return self._sealing.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise ValueError("not sealed under this key") from None

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """Those of the key in a file; where there is none yet, one is made, readable by its owner alone.

        Raises SettingError where it can be neither read nor made.
        """
        try:
            return cls(_read(path) or _made(path))
        except OSError as error:
            raise SettingError(f"pseudonym_key: {path} cannot be used ({error.strerror})") from None


def _read(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        return b""
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise SettingError(f"pseudonym_key: {path} must hold {KEY_BYTES} bytes as hexadecimal digits")
    return key


def _made(path: Path) -> bytes:
    """A new key; that of another process where one was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    number = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        with suppress(FileExistsError):
            os.link(draft, path)  # all of it at once, and never over one that is there
    finally:
        draft.unlink()
    return _read(path)
