"""Follows the folder of definitions: what is saved there is checked and becomes current, without a restart."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import watchfiles

from rtcdp.control.reviews import NotNow
from rtcdp.control.versions import DefinitionsTopic, Told, propose
from rtcdp.errors import ClusterError, DefinitionErrors
from rtcdp.rules.loading.folder import load_marked

logger = logging.getLogger(__name__)

LOOK_MS = 200
STEP_MS = 50
"""Files that are saved together are read together: quiet for so long."""


class FolderWatch:
    """A thread that proposes the folder's definitions whenever a file in it changes.

    told: before a version becomes current. A folder that cannot be used stays without effect: its errors are logged and the
    current version stays.
    """

    def __init__(self, folder: Path, topic: DefinitionsTopic, instance: str, told: Told) -> None:
        self._folder = folder
        self._topic = topic
        self._instance = instance
        self._told = told
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="definitions-folder", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        # Looked at once on starting too: it may have changed between the start of the process and now.
        changes = watchfiles.watch(
            self._folder,
            stop_event=self._stopping,
            step=STEP_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        first = True
        try:
            for changed in changes:
                if changed or first:
                    first = False
                    self.look()
        except OSError as error:  # watchfiles: the folder is gone, or the system allows no more watches
            logger.error("the folder %s can no longer be followed: %s", self._folder, error)  # noqa: TRY400  says all

    def look(self) -> None:
        """Propose what the folder holds now."""
        try:
            definitions, shadow = load_marked(self._folder)
            if propose(self._topic, definitions, self._instance, shadow=shadow, told=self._told) == "proposed":
                logger.info("the folder %s holds the definitions %s now", self._folder, definitions.version)
        except DefinitionErrors as errors:
            logger.error("the folder %s cannot be used, what is current stays:\n%s", self._folder, errors)  # noqa: TRY400  says all
        except (ClusterError, NotNow) as error:
            logger.warning("the definitions in %s could not be proposed: %s", self._folder, error)
