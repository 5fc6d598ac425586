"""What is answered where a request cannot be: RFC 9457, `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

TITLES = {
    400: "The request cannot be read",
    401: "No token, or none that is known",
    403: "The token does not allow this",
    404: "There is no such thing",
    405: "The path knows no such method",
    409: "Not as things stand",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The definitions cannot be used",
    500: "An error in the server",
    503: "Not now",
}


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """The body of every answer that is no success. detail: one sentence; errors: more than one, with their places."""

    title: str
    status: int
    detail: str = ""
    errors: list[str] = []


class Problem(Exception):
    """Ends the handling of a request.

    retry_s: when asking again may help (s); 0 for never. headers: further ones of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_s: int = 0,
        errors: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = {**(headers or {}), **({"Retry-After": str(retry_s)} if retry_s else {})}

    def body(self) -> ProblemBody:
        """What is sent."""
        return ProblemBody(TITLES.get(self.status, "Problem"), self.status, self.detail, self.errors)
