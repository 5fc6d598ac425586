"""The definitions in force, as the API needs them: followed in Kafka, compiled when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from rtcdp.control.versions import CURRENT, DefinitionsTopic, definitions_of, named
from rtcdp.ingestion.identity import NAMESPACES, form_of, normalise, profile_key
from rtcdp.rules.compiling.compiled import Compiled
from rtcdp.rules.compiling.compiler import compile_definitions
from rtcdp.rules.definitions import Definitions
from rtcdp.serving.api.problems import Problem
from rtcdp.settings.config import Settings

NONE_YET = "no definitions are in force yet: has a worker started?"


class Catalogue:
    """Versions of the definitions.

    Raises ClusterError where the topic cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.topic = DefinitionsTopic(settings.kafka(), settings.definitions_topic, f"{settings.app}-serve")
        self.topic.read()
        self._lock = threading.Lock()
        self._compiled: dict[str, Compiled] = {}
        self._forms: tuple[str, Mapping[str, str]] = ("", {})

    def follow(self) -> None:
        """Keep up with the topic, in a thread."""
        self.topic.follow(lambda _version: None)

    def close(self) -> None:
        """Follow no longer."""
        self.topic.close()

    @property
    def current(self) -> str:
        """The version in force; "" where there is none yet."""
        return named(self.topic.entries, CURRENT) or ""

    def compiled(self, version: str) -> Compiled | None:
        """A version, compiled; None where it is not known. May read the topic: call it in a thread."""
        with self._lock:
            found = self._compiled.get(version)
            if found is None and (definitions := definitions_of(self.topic, version)) is not None:
                found = self._compiled[version] = compile_definitions(definitions)
            return found

    def definitions(self) -> Definitions:
        """Those in force. Raises Problem where there are none."""
        version = self.current
        compiled = self.compiled(version) if version else None
        if compiled is None:
            raise Problem(503, NONE_YET, retry_s=5)
        return compiled.definitions

    def identifier(self, tenant: str, namespace: str, value: str) -> str:
        """`NAMESPACE:VALUE` in the form that profile keys have. Raises Problem where it can name nobody."""
        forms = self._forms_now()
        if namespace not in forms:
            raise Problem(404, f"there is no namespace {namespace!r}; there are {', '.join(forms)}")
        normal = normalise(value, forms[namespace])
        if not normal:
            raise Problem(404, f"no {namespace} can be like this")
        return profile_key(tenant, namespace, normal).decode().partition("/")[2]

    def _forms_now(self) -> Mapping[str, str]:
        version, forms = self._forms
        if not forms or version != self.current:
            plan = self.definitions().identity
            forms = {space.name: form_of(space) for space in plan.namespaces or NAMESPACES}
            self._forms = (self.current, forms)
        return forms
