"""What makes an upload or a download one that can be watched."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web

from sfs_server.errors import Problem, problem_of
from sfs_server.progress import Count, Direction, Hub, Transfer, check_id
from sfs_server.web import PRINCIPAL, PROGRESS


class Tracked:
    """Makes a transfer of a request that has an id, ``?id=`` or ``X-Transfer-Id``; nothing of one
    without, and nothing of a HEAD, which moves no bytes.

    ``count`` is what the byte loop counts with. ``begin`` says that the bytes are about to move. A
    request that is refused before is a transfer that failed, unless the caller has to sign in
    first: whoever may do nothing can say nothing under an id either.
    """

    def __init__(self, request: web.Request, direction: Direction) -> None:
        """Read the id. Raises Problem 400."""
        text = request.headers.get("X-Transfer-Id")
        if text is not None:
            check_id(text)  # even if another one stands in the query
        if request.query_string:
            text = request.query.get("id", text)
        self.count: Count
        self._hub: Hub | None = None
        self._begun = False
        if text is None:
            self.count = Count()
            return
        owner = request[PRINCIPAL].user
        self.count = Transfer(check_id(text), direction, owner, asyncio.get_running_loop().time())
        if request.method != "HEAD":
            self._hub = request.app[PROGRESS]

    def locate(self, namespace: str) -> None:
        """The file is in ``namespace``: who may watch depends on it, where scopes are asked."""
        if isinstance(self.count, Transfer):
            self.count.namespace = namespace

    def begin(self, total: int | None) -> None:
        """The transfer begins; of ``total`` bytes, if that is known."""
        if self._hub is not None and isinstance(self.count, Transfer):
            self.count.total = total
            self._hub.begin(self.count)
            self._begun = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hub is None or not isinstance(self.count, Transfer):
            return
        problem = None if error is None else _problem(error)
        if not self._begun:
            if problem is None or problem.status == 401:
                return
            self.begin(None)
        self._hub.end(self.count, None if problem is None else problem.detail)


def _problem(error: BaseException) -> Problem:
    """What a watcher is told of ``error``."""
    if isinstance(error, Exception) and not isinstance(error, ConnectionError):
        return problem_of(error)
    return Problem(499, "The connection was lost before the end.")
