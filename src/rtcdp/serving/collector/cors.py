"""Which web pages may send: the allow-list of origins, and what browsers are told of it (CORS, of the Fetch standard)."""

from __future__ import annotations

from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]

_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-encoding, content-type, x-request-id, x-retry-count"),
    (b"access-control-max-age", b"7200"),
]
_READABLE = (b"access-control-expose-headers", b"retry-after, x-request-id")
_VARY = (b"vary", b"origin")


class AllowedOrigins:
    """origins: `https://shop.example`, `https://*.shop.example` (any subdomain) or `*`, in lower case."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._exact = frozenset(origins)
        self._below = tuple(
            (scheme + "://", "." + host.removeprefix("*."))
            for scheme, _, host in (origin.partition("://") for origin in origins)
            if host.startswith("*.")
        )

    def allows(self, origin: bytes) -> bool:
        """Whether a page of this origin may send."""
        text = origin.decode("latin-1").lower()
        if self._any or text in self._exact:
            return True
        return any(text.startswith(scheme) and text.endswith(host) for scheme, host in self._below)

    def headers(self, origin: bytes | None) -> Headers:
        """What an answer carries. Credentials are never allowed: a write key is all that is needed."""
        if origin is None:
            return []
        return [(b"access-control-allow-origin", origin), _READABLE, _VARY] if self.allows(origin) else [_VARY]

    @staticmethod
    def preflight() -> Headers:
        """What the answer to a browser's preflight request carries beside `headers`."""
        return _PREFLIGHT
