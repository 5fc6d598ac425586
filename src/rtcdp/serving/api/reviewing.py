"""Drafts of definitions over HTTP: propose, look, approve or reject, put in force, withdraw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool

from rtcdp.control.drafts import MOST_NOTE, Drafts
from rtcdp.control.reviews import NotNow, Standing, Verdict
from rtcdp.errors import ClusterError, DefinitionErrors, SettingError
from rtcdp.serving.api.administration import Applied, Draft, in_folder
from rtcdp.serving.api.app import as_json
from rtcdp.serving.api.auditing import actor
from rtcdp.serving.api.operations import JSON, Answer, Call, Operation
from rtcdp.serving.api.problems import Problem
from rtcdp.settings.config import Settings

T = TypeVar("T")

Note = Annotated[str, msgspec.Meta(max_length=MOST_NOTE)]


class Proposal(Draft, forbid_unknown_fields=True):
    """Definitions that are proposed, and why."""

    note: Note = ""


class Drafted(msgspec.Struct):
    """Every draft, the newest first. review: what the deployment wants before one is put in force."""

    review: str
    drafts: list[Standing]


class Shown(msgspec.Struct):
    """A draft with its files and its normal form."""

    draft: Standing
    files: dict[str, str]
    definitions: dict[str, Any]


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody says of a draft."""

    verdict: Verdict
    note: Note = ""


class Withdrawn(msgspec.Struct):
    """Which draft is there no longer."""

    version: str


class Reviewing:
    """The handlers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def operations(self) -> list[Operation]:
        """All of them. What changes something writes itself into the audit log."""
        every, one = "/v1/drafts", "/v1/drafts/{version}"
        read, write, review = "definitions", "definitions:write", "definitions:review"
        return [
            Operation("drafts", "GET", every, read, "Drafts of definitions, and how they stand", self.all, {JSON: Drafted}),
            Operation("draft", "GET", one, read, "A draft with its files", self.one, {JSON: Shown}),
            Operation(
                "propose", "POST", every, write, "Propose definitions", self.propose, {JSON: Standing}, body=Proposal,
                problems=(422,),
            ),
            Operation(
                "review", "POST", f"{one}/review", review, "Approve or reject a draft", self.review, {JSON: Standing},
                body=Said, problems=(409,),
            ),
            Operation(
                "publish", "POST", f"{one}/publish", write, "Put a draft in force", self.publish, {JSON: Applied},
                problems=(409, 422),
            ),
            Operation(
                "withdraw", "POST", f"{one}/withdraw", write, "Take a draft away", self.withdraw, {JSON: Withdrawn},
                problems=(409,),
            ),
        ]  # fmt: skip

    async def all(self, call: Call) -> Answer:
        """`GET /v1/drafts`."""
        return as_json(Drafted(self._settings.definitions_review, await self._asked(Drafts.all)))

    async def one(self, call: Call) -> Answer:
        """`GET /v1/drafts/{version}`."""
        draft, standing = await self._asked(lambda drafts: drafts.draft(call.path["version"]), missing=404)
        return as_json({"draft": standing, "files": draft.files, "definitions": msgspec.Raw(draft.normal.encode())})

    async def propose(self, call: Call) -> Answer:
        """`POST /v1/drafts`."""
        body = call.body

        def work(drafts: Drafts) -> Standing:
            def proposed(folder: Path) -> Standing:
                return drafts.propose(folder, actor(call.token), body.note)

            made: Standing = in_folder(body, proposed)
            return made

        return as_json(await self._asked(work))

    async def review(self, call: Call) -> Answer:
        """`POST /v1/drafts/{version}/review`."""
        version, said = await self._known(call), call.body
        return as_json(await self._asked(lambda drafts: drafts.review(version, actor(call.token), said.verdict, said.note)))

    async def publish(self, call: Call) -> Answer:
        """`POST /v1/drafts/{version}/publish`."""
        version = await self._known(call)
        done = await self._asked(lambda drafts: drafts.publish(version, actor(call.token)))
        return as_json(Applied(done.version, done.previous, done.changed, done.partitions, done.switched))

    async def withdraw(self, call: Call) -> Answer:
        """`POST /v1/drafts/{version}/withdraw`."""
        version = await self._known(call)
        await self._asked(lambda drafts: drafts.withdraw(version, actor(call.token)))
        return as_json(Withdrawn(version))

    async def _known(self, call: Call) -> str:
        """The version of the path; it has to be that of a draft. Raises Problem."""
        version = call.path["version"]
        await self._asked(lambda drafts: drafts.draft(version), missing=404)
        return version

    async def _asked(self, work: Callable[[Drafts], T], missing: int = 409) -> T:
        """What the drafts answer, in a thread. missing: the status where they do not allow it. Raises Problem."""
        try:
            return await run_in_threadpool(lambda: work(Drafts(self._settings)))
        except NotNow as reason:
            raise Problem(missing, str(reason)) from None
        except DefinitionErrors as errors:
            words = "nothing was changed: the definitions have errors"
            raise Problem(422, words, errors=[str(error) for error in errors.errors]) from None
        except SettingError as error:
            raise Problem(400, str(error)) from None
        except ClusterError as error:
            raise Problem(503, str(error), retry_s=1) from None
