"""Names of everything that the projection keeps in Redis: the same for who writes and who reads.

Every name begins with the app's, so that deployments share a Redis without meeting. `<tenant>` and `<profile key>` are those
of Kafka's keys.

| key | type | what |
|---|---|---|
| `<app>:profile:<profile key>` | string | the view, JSON |
| `<app>:meta:<profile key>` | string | the view's offset, and what has to be undone when it changes |
| `<app>:segment:<tenant>:<name>` | sorted set | members: profile keys by when they entered (ms) |
| `<app>:stage:<tenant>:<name>` | set | profile keys in that stage |
| `<app>:id:<tenant>/<namespace>:<value>` | sorted set | profile keys with that identifier |
| `<app>:recent:<profile key>` | sorted set | its latest changes and triggers, JSON by `seq` |
| `<app>:offers:<profile key>` | hash | trigger name to the CloudEvent that was sent last |
| `<app>:flow:<tenant>:<resolution>:<bucket>` | hash | `kind|name|detail` to how often, in that piece of time |
| `<app>:positions` | hash | `topic/partition` to the next offset |
| `<app>:progress` | hash | `topic/partition` to how far it is, JSON |
| `<app>:epoch`, `<app>:complete`, `<app>:owner` | string | this filling's id; the same once it is whole; who writes |
"""

from __future__ import annotations

from dataclasses import dataclass

LAYOUT = 1
"""Version of the layout: a projection of another one is thrown away and made anew."""

FINE_MS, COARSE_MS = 300_000, 3_600_000
"""Lengths of the pieces of time that flows are counted in: five minutes (kept for two days), an hour (kept for 100)."""
RESOLUTIONS = {FINE_MS: 2 * 86_400, COARSE_MS: 100 * 86_400}
"""Length of a piece (ms) to how long it is kept (s)."""


@dataclass(frozen=True)
class Keys:
    """Builds the names. app: of the deployment."""

    app: str

    @property
    def prefix(self) -> str:
        """What every name begins with."""
        return f"{self.app}:"

    @property
    def positions(self) -> str:
        """Hash: `topic/partition` to the next offset."""
        return f"{self.app}:positions"

    @property
    def progress(self) -> str:
        """Hash: `topic/partition` to how far it is."""
        return f"{self.app}:progress"

    @property
    def epoch(self) -> str:
        """The id of this filling, `<layout>-<random>`."""
        return f"{self.app}:epoch"

    @property
    def complete(self) -> str:
        """The epoch, once every profile's view was there."""
        return f"{self.app}:complete"

    @property
    def owner(self) -> str:
        """Who writes; expires by itself."""
        return f"{self.app}:owner"

    def profile(self, key: str) -> str:
        """The view of a profile."""
        return f"{self.app}:profile:{key}"

    def segment(self, tenant: str, name: str) -> str:
        """The members of a segment."""
        return f"{self.app}:segment:{tenant}:{name}"

    def stage(self, tenant: str, name: str) -> str:
        """The profiles in a stage of the lifecycle."""
        return f"{self.app}:stage:{tenant}:{name}"

    def identifier(self, tenant: str, identifier: str) -> str:
        """The profiles with an identifier, `NAMESPACE:VALUE` as in a profile key."""
        return f"{self.app}:id:{tenant}/{identifier}"

    def recent(self, key: str) -> str:
        """The latest changes and triggers of a profile."""
        return f"{self.app}:recent:{key}"

    def offers(self, key: str) -> str:
        """What was sent to a profile last, by trigger."""
        return f"{self.app}:offers:{key}"

    def flow(self, tenant: str, resolution: int, at: int) -> str:
        """What was counted in the piece of time (`resolution` ms long) that holds the instant `at` (ms)."""
        return f"{self.app}:flow:{tenant}:{resolution}:{at // resolution}"
