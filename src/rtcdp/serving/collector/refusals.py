"""Why a request is refused: the status, a fixed word, and a sentence for whoever wrote the client."""

from __future__ import annotations

STATUS = {
    "malformed_json": 400,
    "empty": 400,
    "not_utf8": 400,
    "not_an_object": 400,
    "wrong_type": 400,
    "missing_field": 400,
    "unknown_type": 400,
    "too_deep": 400,
    "malformed_gzip": 400,
    "no_key": 401,
    "unknown_key": 401,
    "origin_not_allowed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_many_events": 413,
    "content_type": 415,
    "content_encoding": 415,
    "rate_limited": 429,
    "client_gone": 499,
    "unexpected": 500,
    "busy": 503,
    "broker_away": 503,
}
"""Every word that an answer's `code` may be, and its HTTP status."""


class Refusal(Exception):
    """A request that is not taken as a whole: nothing of it was acknowledged.

    code:        one of STATUS.
    retry_after: seconds after which the same request may be sent again; 0: not at all.
    close:       whether the connection must be closed, since the rest of the body was not read.
    """

    def __init__(self, code: str, message: str, *, retry_after: int = 0, close: bool = False) -> None:
        self.code = code
        self.status = STATUS[code]
        self.message = message
        self.retry_after = retry_after
        self.close = close
        super().__init__(message)
