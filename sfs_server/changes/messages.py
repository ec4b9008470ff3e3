"""A change: as a stream shows it, and as processes send it to each other. Pure.

What processes send (:mod:`sfs_server.exchange.payloads`) is a JSON array: ``["NS", "a/b.txt",
"file", "put"]`` is one change, ``["NS"]`` says that there were many in a namespace, and ``[]`` in
all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from gfs.errors import InvalidName
from gfs.paths import check_directory, check_path, within

Kind = Literal["file", "folder"]
What = Literal["put", "deleted"]


@dataclass(frozen=True, slots=True)
class PathChange:
    """What happened to the file or folder at a ``path`` of a ``namespace``."""

    namespace: str
    path: str
    kind: Kind
    what: What


@dataclass(frozen=True, slots=True)
class Event:
    """What a stream shows. A later one of the same ``key`` takes the place of one that has not been
    sent."""

    key: tuple[str, ...]
    data: bytes


def _event(document: dict[str, str], *key: str) -> Event:
    return Event(key, b"id: 1\ndata: %b\n\n" % json.dumps(document).encode())


MANY = _event({"change": "many"})
"""More has changed than is shown."""

FIRST = b"id: 1\n\n"
"""The first bytes of a stream. A client that has received the id sends it as Last-Event-ID when it
connects again (WHATWG HTML §9.2.6), also if there was no event. Its value means nothing."""


def seen_from(change: PathChange, folder: str | None) -> Event | None:
    """What a stream of ``folder`` shows of a change; one without a folder (None) shows all of its
    namespace by their whole paths.

    A change further down is one of the folder in which it is, which may be new. If the folder
    itself, or one above it, was made, moved or deleted, all in it may have changed.
    """
    path = change.path
    if folder is None:
        return _shown(change.kind, path, change.what)
    if within(folder, path):
        return MANY
    if not within(path, folder):
        return None
    name, slash, _ = path[len(folder) + 1 if folder else 0 :].partition("/")
    return _shown("folder", name, "put") if slash else _shown(change.kind, name, change.what)


def _shown(kind: Kind, name: str, what: What) -> Event:
    return _event({"type": kind, "name": name, "change": what}, kind, name)


def encode(change: PathChange) -> str:
    """The item that says that something was changed."""
    return json.dumps([change.namespace, change.path, change.kind, change.what])


def encode_many(namespace: str | None) -> str:
    """The item that says that much was changed in a namespace; in any, if it is None."""
    return json.dumps([] if namespace is None else [namespace])


def parse(item: object) -> PathChange | tuple[str | None] | None:
    """What an item of another process says: a change, or the namespace of many in a tuple, None
    for all; None if it is no item of this topic."""
    if not isinstance(item, list) or not all(isinstance(one, str) for one in item):
        return None
    try:
        match item:
            case []:
                return (None,)
            case [namespace]:
                return (check_directory(namespace),)
            case [namespace, path, "file" | "folder" as kind, "put" | "deleted" as what]:
                return PathChange(check_directory(namespace), check_path(path), kind, what)
    except InvalidName:
        pass
    return None
