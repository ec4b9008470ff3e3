"""Links: what a token seals, and what it opens, for whom, and until when."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sfs_server.auth.access import Namespace
from sfs_server.auth.claims import ANONYMOUS, Principal
from sfs_server.auth.links import (
    Links,
    Subject,
    file_subject,
    folder_subject,
    looks_like_link,
    subjects_of,
    transfer_subject,
)
from sfs_server.auth.tokens import InvalidToken, Verifier
from sfs_server.config import Config
from sfs_server.database.migrations import migrate
from sfs_server.database.pool import Database
from tests.support import tokens
from tests.support.tokens import Clock

pytestmark = pytest.mark.usefixtures("still_clock")

KEY = bytes(range(32))
MADE = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TEAM = Namespace("team", False, "alice", MADE)
SUBJECT = file_subject("team", "a.txt")
ALICE = Principal("alice", username="Alice")


def make(maker: Principal = ALICE, subject: Subject = SUBJECT, ttl: int = 300) -> str:
    return Links(KEY).make(maker, subject, TEAM, ttl)[0]


@pytest.mark.parametrize(
    "maker",
    [
        ANONYMOUS,
        Principal("alice"),
        Principal("root", admin=True),
        Principal("é\N{SNOWMAN}" * 100),
        Principal("a", admin=True, scopes={"storage.a": frozenset({"read"})}),
    ],
)
def test_a_link_has_the_rights_of_its_maker(maker: Principal) -> None:
    link = Links(KEY).open(make(maker), [SUBJECT])
    assert (link.maker.user, link.maker.admin) == (maker.user, maker.admin)
    assert link.maker.anonymous == maker.anonymous


def test_a_link_ends_when_it_says_and_not_later(still_clock: Clock) -> None:
    still_clock.now = tokens.NOW + 0.75
    token, expires_at = Links(KEY).make(ALICE, SUBJECT, TEAM, 300)
    assert expires_at == tokens.NOW + 300
    still_clock.now = tokens.NOW + 300.7
    assert Links(KEY).open(token, [SUBJECT])
    for late in (300.75, 301, 330, 1e9):
        still_clock.now = tokens.NOW + late
        with pytest.raises(InvalidToken, match="expired"):
            Links(KEY).open(token, [SUBJECT])


@pytest.mark.parametrize("subject", [SUBJECT, transfer_subject("t")])
def test_a_link_never_outlives_the_token_that_it_was_made_with(
    subject: Subject, still_clock: Clock
) -> None:
    maker = tokens.accept(tokens.token({"exp": tokens.NOW + 60.5}))
    token, expires_at = Links(KEY).make(maker, subject, TEAM, 7 * 86400)
    assert expires_at == tokens.NOW + 60
    assert Links(KEY).make(maker, subject, TEAM, 59)[1] == tokens.NOW + 59
    still_clock.now = tokens.NOW + 60.4
    assert Links(KEY).open(token, [subject])
    for late in (60.5, 61, 89):  # the token itself is good until 90.5, by leeway
        still_clock.now = tokens.NOW + late
        with pytest.raises(InvalidToken, match="expired"):
            Links(KEY).open(token, [subject])
        with pytest.raises(InvalidToken, match="expired"):
            Links(KEY).make(maker, subject, TEAM, 60)


@pytest.mark.parametrize(
    "other",
    [
        file_subject("team", "b.txt"),
        file_subject("team", "a.txt "),
        file_subject("Team", "a.txt"),
        file_subject("tea", "ma.txt"),
        (*SUBJECT, b""),
        SUBJECT[:-1],
        SUBJECT[1:],
        (b"", *SUBJECT[1:]),
    ],
)
def test_a_link_opens_one_thing(other: Subject) -> None:
    with pytest.raises(InvalidToken):
        Links(KEY).open(make(), [other])


@pytest.mark.parametrize(
    ("folder", "path", "is_folder", "opens"),
    [
        ("a", "a", True, True),
        ("a", "a/b", True, True),
        ("a", "a/b", False, True),
        ("a", "/".join("abcdefghijklmnopqrstuvwxyzABCDEF"), False, True),
        ("a/b", "a/b/c", False, True),
        ("", "a", False, True),
        ("", "", True, True),
        ("a", "a", False, False),
        ("a", "ab", False, False),
        ("a", "b/a", False, False),
        ("a", "", True, False),
        ("a/b", "a", True, False),
        ("a/b", "a/c", False, False),
        ("a/b", "a/bc/d", False, False),
    ],
)
def test_a_link_to_a_folder_opens_it_and_what_is_below(
    folder: str, path: str, is_folder: bool, opens: bool
) -> None:
    token = make(subject=folder_subject("team", folder))
    subjects = subjects_of("team", path, folder=is_folder)
    assert len(subjects) <= 33
    if opens:
        assert Links(KEY).open(token, subjects).maker.user == "alice"
    else:
        with pytest.raises(InvalidToken, match="not for this address"):
            Links(KEY).open(token, subjects)
    with pytest.raises(InvalidToken):
        Links(KEY).open(token, subjects_of("other", path, folder=is_folder))


@pytest.mark.parametrize(
    ("path", "is_folder", "opens"),
    [("a.txt", False, True), ("a.txt", True, False), ("a.txt/b", False, False), ("", True, False)],
)
def test_a_link_to_a_file_opens_no_folder(path: str, is_folder: bool, opens: bool) -> None:
    subjects = subjects_of("team", path, folder=is_folder)
    assert (SUBJECT in subjects) == opens


def spoiled(token: str) -> Iterator[str]:
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        yield base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    for length in range(len(token)):
        yield token[:length] or "A"
    yield from (token + "A", token + "=", token + "AAAA", "A" + token, token.swapcase())


def test_a_token_that_was_touched_opens_nothing() -> None:
    for token in spoiled(make()):
        with pytest.raises(InvalidToken):
            Links(KEY).open(token, [SUBJECT])
    with pytest.raises(InvalidToken):
        Links(bytes(32)).open(make(), [SUBJECT])


def test_a_token_shows_nothing_of_what_it_opens_and_of_its_maker() -> None:
    token = make(Principal("somebody@example.com"))
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for word in (b"somebody", b"team", b"a.txt", int(tokens.NOW + 300).to_bytes(4)):
        assert word not in sealed
    assert len(make(Principal("bob"))) <= 50


def test_a_namespace_of_the_same_name_is_another_one() -> None:
    link = Links(KEY).open(make(), [SUBJECT])
    assert link.same(TEAM) is TEAM
    hidden = Namespace("team", True, "bob", MADE)
    assert link.same(hidden) is hidden  # whether the maker may read it now is asked elsewhere
    assert link.same(None) is None
    assert link.same(Namespace("team", False, "alice", MADE + timedelta(microseconds=1))) is None


def test_a_user_s_token_is_no_link_and_a_link_no_user_s_token() -> None:
    user_token, link = tokens.token(), make()
    assert looks_like_link(link)
    assert not looks_like_link(user_token)
    assert not looks_like_link("ecloud_" + user_token)
    assert not any(map(looks_like_link, ("", "a.b", "é", "a=", "a\n", "a b")))
    with pytest.raises(InvalidToken):
        Links(KEY).open(user_token.partition(".")[2].partition(".")[0], [SUBJECT])
    # Even if the key of links were the secret of tokens.
    secret = "the key of links is 32 bytes long"[:32]
    sealed = Links(secret.encode()).make(ALICE, SUBJECT, TEAM, 300)[0]
    verifier = Verifier.from_config(Config(), secret)
    for text in (sealed, f"{sealed}.{sealed}.{sealed}", f"ecloud_{sealed}"):
        tokens.refuse(text, verifier)


async def test_all_processes_of_one_database_have_one_key(
    database: Database, database_url: str
) -> None:
    token, _ = (await Links.of(database)).make(ALICE, SUBJECT, TEAM, 300)
    other = await Database.connect(database_url)
    try:
        await migrate(other)  # a restart
        assert (await Links.of(other)).open(token, [SUBJECT]).maker.user == "alice"
        await other.fetch("DELETE FROM link_key")
        await migrate(other)
        with pytest.raises(InvalidToken):
            (await Links.of(other)).open(token, [SUBJECT])
    finally:
        await other.close()
