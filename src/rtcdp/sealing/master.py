"""The master key: from a file that only its owner reads, or held by a key management service and never seen here.

It wraps one small thing, the root of a key store; the root wraps the data keys. So a service is asked once per start, and
another master key means that one thing is wrapped anew.
"""

from __future__ import annotations

import binascii
import os
import shlex
import stat
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rtcdp.errors import SettingError

KEY_BYTES = 32
NONCE_BYTES = 12
COMMAND_S = 30.0
PURPOSE = b"rtcdp key store"


class Master(Protocol):
    """Wraps and unwraps a few bytes."""

    def wrap(self, secret: bytes) -> bytes:
        """Encrypt. Raises SettingError where that cannot be done."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """Back from `wrap`. Raises SettingError where it is another key's, or cannot be done."""


class FileMaster:
    """A key in a file: 32 bytes in base64, readable by its owner alone; one of root's also by the process's group.

    Raises SettingError where the file is missing, holds no key, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            status = path.stat()
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "no text"
            raise SettingError(f"master_key_file: {path} cannot be read ({reason}); `rtcdp privacy keygen` makes one") from None
        # A secret that a cluster mounts belongs to root and is readable by the process's group.
        mounted = status.st_uid == 0 and os.geteuid() != 0
        if status.st_mode & (stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if mounted else stat.S_IRWXG)):
            raise SettingError(f"master_key_file: others may read {path}: chmod 600 {path}")
        try:
            key = b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise SettingError(f"master_key_file: {path} holds no key: {KEY_BYTES} bytes in base64 are expected")
        self._aead = AESGCM(key)

    def wrap(self, secret: bytes) -> bytes:
        """As `Master`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, secret, PURPOSE)

    def unwrap(self, wrapped: bytes) -> bytes:
        """As `Master`."""
        try:
            return self._aead.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], PURPOSE)
        except (InvalidTag, ValueError):
            raise SettingError(f"master_key_file: {self._path} is not the key that this key store was made with") from None


class CommandMaster:
    """A key that a program asks a key management service for: `COMMAND wrap`, `COMMAND unwrap`.

    It is given base64 on its standard input and answers with base64; another exit code than 0 is a failure.
    """

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def wrap(self, secret: bytes) -> bytes:
        """As `Master`."""
        return self._ask("wrap", secret)

    def unwrap(self, wrapped: bytes) -> bytes:
        """As `Master`."""
        return self._ask("unwrap", wrapped)

    def _ask(self, verb: str, data: bytes) -> bytes:
        name = f"master_key_command: {self._command[0] if self._command else ''} {verb}"
        try:
            # The operator's own command, from the operator's own settings: no shell takes part.
            done = subprocess.run(
                [*self._command, verb], input=b64encode(data), capture_output=True, timeout=COMMAND_S, check=False
            )
        except (OSError, IndexError, subprocess.TimeoutExpired) as error:
            raise SettingError(f"{name}: it cannot be run ({error})") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise SettingError(f"{name}: exit code {done.returncode}: {said[-1] if said else 'it says nothing'}")
        try:
            return b64decode(done.stdout.strip(), validate=True)
        except binascii.Error:
            raise SettingError(f"{name}: its answer is not base64") from None


def make_key_file(path: Path) -> None:
    """Write a new random key, for its owner alone. Raises SettingError where the file exists or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingError(f"{path} cannot be made ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(b64encode(os.urandom(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
