"""What a request's head says, as far as the collector reads it."""

from __future__ import annotations

import re
import uuid
from base64 import b64decode
from binascii import Error as NotBase64

import msgspec
from starlette.types import Scope

from rtcdp.serving.collector.refusals import Refusal

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
HOST = re.compile(rb"[A-Za-z0-9._\-\[\]:]{1,255}")
TYPES = frozenset({b"", b"application/json", b"text/plain"})
"""Content types that a body may have: browsers send JSON as text, so that they need not ask first."""


class Names:
    """Names that nobody else gives: a random one of this object, and a count."""

    def __init__(self) -> None:
        self._own = uuid.uuid4().hex
        self._count = 0

    def new(self) -> str:
        """The next one."""
        self._count += 1
        return f"{self._own}-{self._count:x}"


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request's head.

    method, path: of the request line.
    request_id:   the client's, where it is a harmless name, else a new one.
    fields:       header fields; of repeated ones the last.
    address:      of the client, "" where it is not known.
    """

    method: str
    path: str
    request_id: bytes
    fields: dict[bytes, bytes]
    address: str

    @property
    def origin(self) -> bytes | None:
        """The web page that sends; None where no browser does."""
        return self.fields.get(b"origin")

    @property
    def agent(self) -> str:
        """The user agent, "" where there is none."""
        return self.fields.get(b"user-agent", b"").decode("latin-1")

    def host(self) -> str:
        """The address that the client asked for, for links back to it; "localhost" where it is missing or malformed."""
        found = self.fields.get(b"host", b"")
        return found.decode("ascii") if HOST.fullmatch(found) else "localhost"

    @property
    def trace(self) -> bytes | None:
        """W3C trace context, as it came; None where there is none or it is not well-formed."""
        found = self.fields.get(b"traceparent")
        return found if found is not None and TRACE.fullmatch(found) else None

    def write_key(self) -> bytes:
        """The user name of HTTP Basic authentication, as Segment's SDKs send it; b"" where there is none."""
        scheme, _, credentials = self.fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return b""
        try:
            return b64decode(credentials.strip(), validate=True).partition(b":")[0]
        except NotBase64:
            return b""

    def gzip(self) -> bool:
        """Whether the body is packed. Raises Refusal where it is of a type or packed in a way that cannot be read."""
        kind = self.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in TYPES:
            raise Refusal("content_type", "the body must be application/json (or JSON as text/plain)")
        packed = self.fields.get(b"content-encoding", b"").strip().lower()
        if packed not in {b"", b"identity", b"gzip", b"x-gzip"}:
            raise Refusal("content_encoding", "a packed body must be gzip")
        return packed in {b"gzip", b"x-gzip"}


def read_head(scope: Scope, names: Names) -> Head:
    """The head of a request. names: gives it one where the client did not."""
    fields = dict(scope["headers"])
    given = fields.get(b"x-request-id", b"")
    client = scope.get("client")
    return Head(
        scope["method"],
        scope["path"],
        given if given and REQUEST_ID.fullmatch(given) else names.new().encode(),
        fields,
        client[0] if client else "",
    )
