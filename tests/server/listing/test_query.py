"""What a list is narrowed to."""

from __future__ import annotations

import unicodedata

import pytest
from multidict import MultiDict

from gfs.errors import InvalidName
from gfs.types import Entry, FileInfo, FolderInfo
from sfs_server.errors import Problem
from sfs_server.listing import Query, query_of


def contained(text: str, name: str) -> bool:
    query = query_of(MultiDict(contains=text))
    return bool(query.kept([FileInfo("ns", name, 0, "1", 0, 0)]))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "x"),
        ("b", "abc"),
        ("B", "abc"),
        ("b", "ABC"),
        ("É", "café"),
        ("é", unicodedata.normalize("NFD", "CAFÉ")),
        (unicodedata.normalize("NFD", "é"), "CAFÉ"),
        ("STRASSE", "Große Straße 1"),
        ("straße", "GROSSE STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("οδοσ", "οδος"),
        ("k", "\u212a"),
        ("\u212a", "k"),
        ("ﬁ", "FILE"),
        ("ᾳ̈", unicodedata.normalize("NFC", "Ὰᾳ̈")),
        ("/b", "a/bc"),
        ("A/B", "xa/b"),
    ],
)
def test_text_is_found_in_any_case_and_normal_form(text: str, name: str) -> None:
    assert contained(text, name)


@pytest.mark.parametrize(("text", "name"), [("e", "é"), ("ab", "a b"), ("é", "e"), ("*", "a")])
def test_other_text_is_not_found(text: str, name: str) -> None:
    assert not contained(text, name)


def test_the_name_is_the_part_that_the_list_shows() -> None:
    entries: list[Entry] = [FileInfo("ns", "ab/c", 0, "1", 0, 0), FolderInfo("ns", "ab/ba", 0)]
    assert Query("ab", contains="b").kept(entries) == entries[1:]
    assert Query(None, contains="b").kept(entries) == entries


@pytest.mark.parametrize(
    ("parameters", "folder"),
    [({}, None), ({"folder": ""}, ""), ({"folder": "a/b"}, "a/b"), ({"folder": "a/b/"}, "a/b")],
)
def test_the_folder_is_the_top_only_where_it_is_given(
    parameters: dict[str, str], folder: str | None
) -> None:
    assert query_of(MultiDict(parameters)).folder == folder


@pytest.mark.parametrize(
    "folder", ["/", "//", "/a", "a//b", "a//", "..", "a/../b", ".", " a", "a\\b", "a\0", "x" * 256]
)
def test_what_cannot_be_a_folder_is_refused(folder: str) -> None:
    with pytest.raises(InvalidName):
        query_of(MultiDict(folder=folder))


@pytest.mark.parametrize(
    "parameters",
    [{"type": "folder"}, {"type": ""}, {"type": "FILE", "folder": ""}, {"type": "dir"}],
)
def test_a_type_that_the_list_cannot_follow_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(Problem) as refused:
        query_of(MultiDict(parameters))
    assert refused.value.status == 400
