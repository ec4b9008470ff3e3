"""What a list is narrowed to: the query of a request for one. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import MultiMapping

from gfs.paths import check_path
from gfs.types import Entry, Kind
from sfs_server.errors import Problem
from sfs_server.http import limit_of


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries a list has.

    ``folder`` is the path of the folder of which one level is listed, "" for the top; None asks for
    the files at all depths. ``prefix`` and ``after`` are compared with the name of an entry as the
    list shows it: the whole path where all depths are listed, else the last segment. ``limit`` is
    how many entries a page has at most, None for all. ``kind`` keeps only files, or only folders.
    ``contains`` keeps the entries whose name, as the list shows it, contains this text once both
    are :func:`folded`; it is folded, and "" keeps all.
    """

    folder: str | None = None
    prefix: str = ""
    after: str = ""
    limit: int | None = None
    kind: Kind | None = None
    contains: str = ""

    @property
    def hidden_characters(self) -> int:
        """How many characters at the beginning of an entry's path its name in the list lacks."""
        return len(self.folder) + 1 if self.folder else 0

    def kept(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those of ``entries`` whose names contain the text."""
        if self.contains:
            text, start = self.contains, self.hidden_characters
            entries = [entry for entry in entries if text in folded(entry.path[start:])]
        return entries


def folded(text: str) -> str:
    """``text`` for comparisons without regard to case, and to how accents are encoded: Unicode case
    folding and Normalization Form C, as in canonical caseless matching (Unicode Standard, §3.13,
    D145)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def query_of(parameters: MultiMapping[str], folder: str | None = None) -> Query:
    """What the query of a request, ``parameters``, asks for; ``folder`` is the folder that the path
    of the request names, if it does. Raises Problem 400, and InvalidName for a ``?folder=`` that
    cannot be one.

    A parameter that the list cannot follow is refused, because a client that asks for a part and
    gets everything may go on to delete everything.
    """
    if folder is None and "folder" in parameters:
        folder = parameters["folder"].removesuffix("/")
        if parameters["folder"]:
            check_path(folder)
    kind: Kind | None
    match parameters.get("type"):
        case None:
            kind = None
        case "file":
            kind = "file" if folder is not None else None
        case "folder" if folder is not None:
            kind = "folder"
        case "folder":
            raise Problem(400, "?type=folder needs ?folder=: else only files are listed.")
        case _:
            raise Problem(400, "?type= is file or folder; leave it out to get both.")
    return Query(
        folder,
        prefix=parameters.get("prefix", ""),
        after=parameters.get("after", ""),
        limit=limit_of(parameters),
        kind=kind,
        contains=folded(parameters.get("contains", "")),
    )
