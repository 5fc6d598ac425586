"""The ASGI application: routes, tokens, parameters and bodies, errors; what is answered is in the handlers."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from rtcdp.serving.api.counts import Counts
from rtcdp.serving.api.operations import Answer, Call, Operation
from rtcdp.serving.api.problems import Problem
from rtcdp.serving.api.tokens import Token, Tokens

logger = logging.getLogger(__name__)

_json = msgspec.json.Encoder().encode
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),  # profiles are personal, and old in a moment
]


class Forbidden(Problem):
    """A token asks for what it is not for. token: which one."""

    def __init__(self, detail: str, token: Token) -> None:
        super().__init__(403, detail)
        self.token = token


class Audit(Protocol):
    """Where it is written down, before an answer leaves, who did what. Both raise Problem where that cannot be."""

    async def done(self, what: str, call: Call, *, beside: bool = False) -> None:
        """A request is about to be answered. beside: the answer may leave before its entry has arrived."""

    async def refused(self, what: str, token: Token) -> None:
        """A token asked for what it is not for."""


class Gate:
    """What stands before every operation: the token, the tenant, the parameters, the body.

    tokens:     those that are known. body_bytes: largest body that is taken.
    """

    def __init__(self, tokens: Tokens, body_bytes: int) -> None:
        self._tokens = tokens
        self._body_bytes = body_bytes

    async def admit(self, operation: Operation, scope: Scope, receive: Receive) -> Call:
        """The request, read and allowed. Raises Problem."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = self._token(operation, headers)
        path = {name: _decoded(value) for name, value in scope.get("path_params", {}).items()}
        query = _query(operation, scope["query_string"])
        tenant = _tenant(query, token) if operation.tenant else ""
        body = await self._body(operation, headers, receive) if operation.body is not None else None
        return Call(path, query, body, token, tenant, headers)

    def _token(self, operation: Operation, headers: Mapping[str, str]) -> Token | None:
        if not operation.scope:
            return None
        kind, _, text = headers.get("authorization", "").partition(" ")
        token = self._tokens.find(text.strip().encode("latin-1")) if kind.lower() == "bearer" else None
        if token is None:
            words = "send a token of `rtcdp tokens add` as `Authorization: Bearer ...`"
            raise Problem(401, words, headers={"WWW-Authenticate": "Bearer"})
        if operation.scope not in token.scopes:
            raise Forbidden(f"the token {token.id} is not for {operation.scope}", token)
        return token

    async def _body(self, operation: Operation, headers: Mapping[str, str], receive: Receive) -> Any:
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise Problem(415, "send application/json")
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(400, "the request ended before its body did")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._body_bytes:
                raise Problem(413, f"a body may take {self._body_bytes} bytes")
            chunks.append(chunk)
            if not message.get("more_body"):
                break
        try:
            return msgspec.json.decode(b"".join(chunks), type=operation.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, f"body: {error}") from None


class _Resource:
    """One path: its operations by method."""

    def __init__(self, operations: Sequence[Operation], gate: Gate, audit: Audit, counts: Counts) -> None:
        self._operations = {one.method: one for one in operations}
        self._allow = ", ".join(sorted(self._operations))
        self._gate = gate
        self._audit = audit
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing is raised."""
        began = time.perf_counter()
        method = scope["method"]
        operation = self._operations.get("GET" if method == "HEAD" else method)
        name = operation.name if operation else "other"
        try:
            if operation is None:
                answer = refused(Problem(405, f"this path knows {self._allow}", headers={"Allow": self._allow}))
            else:
                answer = await self._answered(operation, scope, receive)
        except Problem as problem:
            answer = refused(problem)
        except Exception:
            logger.exception("%s failed", name)
            answer = refused(Problem(500, "the server's log says more"))
        self._counts.answered(name, answer.status, time.perf_counter() - began)
        await _send(answer, send, empty=method == "HEAD")

    async def _answered(self, operation: Operation, scope: Scope, receive: Receive) -> Answer:
        """A success, written down where that has to be. Raises Problem."""
        try:
            call = await self._gate.admit(operation, scope, receive)
        except Forbidden as forbidden:
            await self._audit.refused(operation.name, forbidden.token)
            raise
        if call.tenant:
            self._counts.of_tenant(call.tenant)
        answer = await operation.handler(call)
        if operation.audited:
            await self._audit.done(operation.name, call, beside=operation.beside)
        return answer


def refused(problem: Problem) -> Answer:
    """A problem as an answer."""
    return Answer(_json(problem.body()), "application/problem+json", problem.status, problem.headers)


def application(
    operations: Sequence[Operation],
    gate: Gate,
    audit: Audit,
    counts: Counts,
    *,
    more: Sequence[BaseRoute] = (),
    lifespan: Lifespan[Any] | None = None,
) -> ASGIApp:
    """The application. more: further routes, looked at after the operations."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    # What is asked all the time comes first; else what is named outright before what a parameter would take as well.
    hot = {operation.path for operation in operations if operation.beside}
    paths = sorted(by_path, key=lambda path: (path not in hot, path.count("{")))
    routes: list[BaseRoute] = [Route(path, _Resource(by_path[path], gate, audit, counts)) for path in paths]
    nothing = _Nothing(counts)
    routes += [Route("/v1/{rest:path}", nothing), *more, Route("/{rest:path}", nothing)]
    router = Router(routes, lifespan=lifespan)  # without Starlette's middleware: operations raise nothing

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # As it was sent: a `/` inside a value (%2F) is no separator.
            raw = scope["raw_path"].partition(b"?")[0].decode("latin-1")
            scope = {**scope, "path": raw, "root_path": ""}
        try:
            await router(scope, receive, send)
        except HTTPException as nothing:  # of static files
            answer = refused(Problem(nothing.status_code, "there is nothing at this path"))
            await _send(answer, send, empty=scope["method"] == "HEAD")

    return app


class _Nothing:
    """Any other path."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._counts.answered("other", 404, 0.0)
        await _send(refused(Problem(404, "there is nothing at this path")), send, empty=scope["method"] == "HEAD")


async def _send(answer: Answer, send: Send, *, empty: bool) -> None:
    headers = [*_SECURITY, (b"content-type", answer.content_type.encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    body = answer.body
    if isinstance(body, bytes):
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if empty else body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        if not empty:
            async for chunk in body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(body, "aclose", None)
        if close is not None:
            await close()
    await send({"type": "http.response.body", "body": b""})


def _decoded(value: str) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise Problem(400, "the path is not UTF-8") from None


def _query(operation: Operation, raw: bytes) -> Any:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), errors="strict")
    except (UnicodeError, ValueError):
        raise Problem(400, "the query cannot be read") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem(400, "a parameter is there twice")
    try:
        return msgspec.convert(found, operation.query, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise Problem(400, str(error)) from None


def _tenant(query: Any, token: Token | None) -> str:
    if token is None:
        return str(query.tenant)
    tenant: str = query.tenant or token.tenants[0]
    if tenant not in token.tenants:
        raise Forbidden(f"the token {token.id} is not for the tenant {tenant}", token)
    return tenant


def as_json(value: Any) -> Answer:
    """A value as the body of a success."""
    return Answer(_json(value))
