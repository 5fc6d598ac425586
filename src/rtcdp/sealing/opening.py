"""From settings to a sealer, for every process that reads or writes personal data in Kafka."""

from __future__ import annotations

from pathlib import Path

from rtcdp.errors import ClusterError, SettingError
from rtcdp.sealing.master import CommandMaster, FileMaster, Master
from rtcdp.sealing.sealer import Sealer, open_root, rotate
from rtcdp.sealing.stores import KeysAway, KeyStore, SqliteKeys
from rtcdp.settings.config import Settings


def sealer_of(settings: Settings, partitions: int, *, create: bool = False) -> Sealer | None:
    """The sealer of a deployment; None where encryption is off.

    partitions: of `profile-events`. create: whether an empty key store may be begun: a worker's first start.

    Raises SettingError, and ClusterError where the key store does not answer.
    """
    if settings.encryption == "off":
        return None
    store = store_of(settings, create=create)
    try:
        return Sealer(store, open_root(store, master_of(settings), create=create), partitions)
    except KeysAway as error:
        raise ClusterError(str(error)) from None


def store_of(settings: Settings, *, create: bool = False) -> KeyStore:
    """The key store. Raises SettingError, and ClusterError where it does not answer."""
    if settings.encryption == "sqlite":
        path = settings.keys_file or settings.state_dir / "keys.db"
        if not create and not path.exists():
            raise SettingError(f"keys_file: there is no {path}: has a worker with encryption run here?")
        return SqliteKeys(path)
    if not settings.keys_redis:
        raise SettingError("keys_redis: encryption: redis needs the address of a Redis for keys (redis://host:port/0)")
    from rtcdp.sealing.redis_keys import open_keys

    password = None if settings.keys_redis_password_file is None else settings.secret("keys_redis_password_file")
    try:
        return open_keys(settings.keys_redis, password, settings.app)
    except KeysAway as error:
        raise ClusterError(f"keys_redis: {error}") from None


def master_of(settings: Settings) -> Master:
    """The master key. Raises SettingError."""
    if settings.master_key_command:
        if settings.master_key_file is not None:
            raise SettingError("master_key_command: there is a master_key_file as well; only one of them")
        return CommandMaster(settings.master_key_command)
    if settings.master_key_file is None:
        raise SettingError("master_key_file: encryption needs a master key (`rtcdp privacy keygen`), or master_key_command")
    return FileMaster(settings.master_key_file)


def rotate_master(settings: Settings, to_file: Path | None, to_command: str) -> None:
    """Let another master key open the store: from a file, or asked of a program.

    Raises SettingError where the present one does not open it, ClusterError where the store does not answer.
    """
    if (to_file is None) == (not to_command):
        raise SettingError("the new master key is either in a file or asked of a program")
    if settings.encryption == "off":
        raise SettingError("encryption: it is off, there is no key store")
    new = FileMaster(to_file) if to_file is not None else CommandMaster(to_command)
    store = store_of(settings)
    try:
        rotate(store, master_of(settings), new)
    except KeysAway as error:
        raise ClusterError(str(error)) from None
    finally:
        store.close()
