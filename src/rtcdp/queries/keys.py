"""Profile keys as people write them: brought to the form that the log has, or a request would be about nobody."""

from __future__ import annotations

from contextlib import suppress

from rtcdp.control.versions import CURRENT, DefinitionsTopic, definitions_of, named
from rtcdp.errors import SettingError
from rtcdp.ingestion.identity import NAMESPACES, ProfileKey, form_of, normalise, parse_profile_key, profile_key
from rtcdp.queries.inspection import full_key
from rtcdp.rules.definitions import Definitions
from rtcdp.rules.loading.folder import load
from rtcdp.settings.config import Settings


def in_force(settings: Settings) -> Definitions | None:
    """The definitions given, else those in force; None where there are none yet. Raises ClusterError, DefinitionErrors."""
    if settings.definitions is not None:
        return load(settings.definitions)
    topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-command")
    version = named(topic.read(), CURRENT)
    return definitions_of(topic, version) if version else None


def key_of(settings: Settings, key: str) -> str:
    """The profile key that is meant, under the definitions in force. Blocks. Raises as `in_force` and `normal_key`.

    A namespace that they do not have is taken as it is: who had such an identifier can be shown and erased all the same.
    """
    full = full_key(key)  # what is no key is said to be, whatever else there is
    return normal_key(full, in_force(settings), known=False).decode()


def normal_key(key: str, definitions: Definitions | None, *, known: bool = True) -> bytes:
    """A key as given by hand, its value in the namespace's normal form. Raises SettingError.

    known: whether the namespace has to be one of the definitions.
    """
    tenant, _, rest = full_key(key).partition("/")
    namespace, _, value = rest.partition(":")
    spaces = (definitions.identity.namespaces if definitions is not None else ()) or NAMESPACES
    forms = {space.name: form_of(space) for space in spaces}
    if known and namespace not in forms:
        raise SettingError(f"{key!r}: there is no namespace {namespace!r}; there are {', '.join(forms)}")
    with suppress(ValueError):  # what is not escaped is taken as people write it
        value = parse_profile_key(full_key(key).encode()).value
    normal = normalise(value, forms.get(namespace, "exact"))
    if not normal:
        raise SettingError(f"{key!r}: no {namespace} can be like this")
    try:
        return profile_key(*ProfileKey(tenant, namespace, normal))
    except ValueError as error:
        raise SettingError(f"{key!r}: {error}") from None
