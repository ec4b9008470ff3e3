"""What a stream shows of a change, and what processes send each other."""

from __future__ import annotations

import json

import pytest

from sfs_server.changes.messages import (
    MANY,
    Kind,
    PathChange,
    What,
    encode,
    encode_many,
    parse,
    seen_from,
)


@pytest.mark.parametrize(
    ("path", "kind", "what", "folder", "seen"),
    [
        ("a.txt", "file", "put", None, ("file", "a.txt", "put")),
        ("a/b/c.txt", "file", "deleted", None, ("file", "a/b/c.txt", "deleted")),
        ("a/b", "folder", "put", None, ("folder", "a/b", "put")),
        ("a.txt", "file", "put", "", ("file", "a.txt", "put")),
        ("a/b/c.txt", "file", "put", "", ("folder", "a", "put")),
        ("a/b/c/d.txt", "file", "put", "a/b", ("folder", "c", "put")),
        ("a/b/c/d.txt", "file", "deleted", "a/b", ("folder", "c", "put")),
        ("a/b/c.txt", "file", "deleted", "a/b", ("file", "c.txt", "deleted")),
        ("a/b/c", "folder", "deleted", "a/b", ("folder", "c", "deleted")),
        ("a/b", "folder", "deleted", "a/b", "many"),
        ("a", "folder", "deleted", "a/b", "many"),
        ("a", "folder", "put", "a/b", "many"),
        ("a/bc", "folder", "put", "a/b", None),
        ("b/a/b/c", "file", "put", "a/b", None),
        ("c.txt", "file", "put", "a/b", None),
    ],
)
def test_what_a_stream_shows(
    path: str, kind: Kind, what: What, folder: str | None, seen: tuple[str, ...] | str | None
) -> None:
    event = seen_from(PathChange("ns", path, kind, what), folder)
    if seen is None:
        assert event is None
    elif seen == "many":
        assert event is MANY
    else:
        assert event is not None
        assert event.data.startswith(b"id: 1\ndata: ")
        shown = json.loads(event.data.partition(b"data: ")[2])
        assert shown == dict(zip(("type", "name", "change"), seen, strict=True))


def test_what_is_sent_arrives() -> None:
    for path in ("a", "Ünï/😀 \"'", "x" * 255):
        change = PathChange("ns.1", path, "file", "put")
        assert parse(json.loads(encode(change))) == change
    assert parse(json.loads(encode_many("ns.1"))) == ("ns.1",)
    assert parse(json.loads(encode_many(None))) == (None,)


def test_the_longest_fits_into_a_payload() -> None:
    path = "/".join(["\u00ff" * 127] * 4)
    assert len(path.encode()) <= 1024
    assert len(encode(PathChange("n" * 63, path, "folder", "deleted"))) < 7800


@pytest.mark.parametrize(
    "item",
    [
        *(None, 5, "a", {}, [5], [None], ["a/b"], [""], ["ns", "a"], ["ns", "a", "file"]),
        *(["ns", "../a", "file", "put"], ["ns", "a", "link", "put"], ["ns", "a", "file", "moved"]),
        *(["ns", "", "file", "put"], [["ns"], "a", "file", "put"], ["ns", "a", "file", "put", "x"]),
    ],
)
def test_what_cannot_be_is_dropped(item: object) -> None:
    assert parse(item) is None
