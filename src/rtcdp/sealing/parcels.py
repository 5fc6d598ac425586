"""Parcels: what is about a person, sealed for topics whose Kafka keys are not the person's. A parcel says itself whose it is.

Wire form: `PARCEL`, 16 bytes name of the person, and what `Sealer.seal` makes of the value.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rtcdp.errors import ClusterError
from rtcdp.sealing.opening import sealer_of
from rtcdp.sealing.sealer import NAME_BYTES, Sealer
from rtcdp.sealing.stores import KeysAway
from rtcdp.settings.config import Settings

PARCEL = b"\xe5\x03"
"""No JSON begins with these bytes."""
_START = len(PARCEL) + NAME_BYTES
_lock = threading.Lock()
_shared: dict[tuple[object, ...], Sealer] = {}


def pack(entries: Sequence[tuple[bytes, bytes]], sealer: Sealer | None) -> list[bytes]:
    """Values, (profile key, value) each, as they are to lie in Kafka. Raises KeysAway."""
    if sealer is None:
        return [value for _, value in entries]
    sealer.prepare([key for key, _ in entries])
    return [PARCEL + name + sealed for name, sealed in sealer.seal_all(entries)]


def unpack(values: Sequence[bytes | None], sealer: Sealer | None) -> list[bytes | None]:
    """Back from `pack`; what is no parcel stays what it is. None where the data key was destroyed: nobody's any more.

    Raises KeysAway, and ClusterError where the key store has lost keys, or there is a parcel and no sealer.
    """
    found = list(values)
    places = [place for place, value in enumerate(found) if value is not None and value.startswith(PARCEL)]
    if not places:
        return found
    if sealer is None:
        raise ClusterError("this deployment's data is encrypted: give its settings (encryption, master_key_file, ...)")
    parcels = [values[place] or b"" for place in places]
    opened = sealer.open_all([(value[len(PARCEL) : _START], value[_START:]) for value in parcels])
    for place, one in zip(places, opened, strict=True):
        found[place] = None if one is None else one[1]
    return found


def packed(entries: Sequence[tuple[bytes, bytes]], sealer: Sealer | None) -> list[bytes]:
    """As `pack`, for whoever does not wait: raises ClusterError where the key store is away."""
    try:
        return pack(entries, sealer)
    except KeysAway as error:
        raise ClusterError(str(error)) from None


def unpacked(values: Sequence[bytes | None], sealer: Sealer | None) -> list[bytes | None]:
    """As `unpack`, for whoever does not wait: raises ClusterError where the key store is away."""
    try:
        return unpack(values, sealer)
    except KeysAway as error:
        raise ClusterError(str(error)) from None


def shared_sealer(settings: Settings) -> Sealer | None:
    """The sealer for a process's parcels, made once: a key management service is asked once. None where encryption is off.

    Raises SettingError, and ClusterError where the key store does not answer.
    """
    if settings.encryption == "off":
        return None
    where = (
        settings.app, settings.encryption, settings.keys_file, settings.state_dir, settings.keys_redis,
        settings.master_key_file, settings.master_key_command,
    )  # fmt: skip
    with _lock:
        found = _shared.get(where)
        if found is None and (found := sealer_of(settings, 1)) is not None:
            _shared[where] = found
    return found
