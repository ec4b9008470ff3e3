"""What a token with a good signature says: the user, the scopes, the times, the audience."""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress

import pytest

from sfs_server.auth.claims import load_json_object
from sfs_server.auth.tokens import ANONYMOUS, InvalidToken, Principal
from sfs_server.config import Config
from tests.support.credentials import SECRET
from tests.support.tokens import NOW, Clock, accept, hs256, hs_verifier, raw_token, refuse, token

pytestmark = pytest.mark.usefixtures("still_clock")


def test_plain_user() -> None:
    assert accept(token()) == Principal("alice", username="alice")


def test_display_name_and_admin() -> None:
    claims: dict[str, object] = {"username": "Alice A.", "admin": True}
    assert accept(token(claims)) == Principal("alice", username="Alice A.", admin=True)


@pytest.mark.parametrize("claim", ["admin", "is_admin"])
@pytest.mark.parametrize("admin", ["true", 1, None, [True], {"x": True}, False, 1.0])
def test_only_the_literal_true_makes_an_admin(claim: str, admin: object) -> None:
    assert accept(token({claim: True})).admin is True
    assert accept(token({claim: admin})).admin is False


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"user_id": "bob"}, "bob"),
        ({"user_id": "bob", "sub": ...}, "bob"),
        ({"user_id": None}, "alice"),
        ({"user_id": 42}, "42"),
        ({"user_id": 0}, "0"),
        ({"sub": "ålice.o'hara@example.com"}, "ålice.o'hara@example.com"),
        ({"sub": "a" * 255}, "a" * 255),
    ],
)
def test_user(claims: dict[str, object], user: str) -> None:
    assert accept(token(claims)).user == user


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ...},
        {"sub": ""},
        {"sub": None},
        {"sub": 42},
        {"sub": ["alice"]},
        {"sub": "a" * 256},
        {"sub": "a\nb"},
        {"sub": "a\x00"},
        {"sub": "a\x7f"},
        {"sub": "a\u2028b"},
        {"sub": "a\ud800"},
        {"user_id": ""},
        {"user_id": True},
        {"user_id": 4.0},
        {"user_id": {"a": 1}},
        {"username": 7},
        {"username": "a\r\nb"},
        {"username": "a" * 256},
    ],
)
def test_names_that_cannot_be(claims: dict[str, object]) -> None:
    refuse(token(claims))


@pytest.mark.parametrize("kind", [..., None, ""])
def test_a_plain_token_ignores_scopes(kind: object) -> None:
    principal = accept(token({"type": kind, "scopes": "nonsense"}))
    assert principal.scopes is None
    assert principal.granted("files.photos", "delete")


@pytest.mark.parametrize("kind", ["refresh", "API_TOKEN", "link", 0, False, [], ["api_token"]])
def test_other_types_are_refused(kind: object) -> None:
    refuse(token({"type": kind}))


@pytest.mark.parametrize(
    ("key", "grants"),
    [
        ("storage.alice", {"files", "files.ns", "files.ns.a", "namespaces.ns", "namespaces.ns.a"}),
        ("storage.alice.files", {"files", "files.ns", "files.ns.a"}),
        ("storage.alice.files.ns", {"files.ns"}),
        ("storage.alice.files.ns.a", {"files.ns.a"}),
        ("storage.alice.namespaces", {"namespaces.ns", "namespaces.ns.a"}),
        ("storage.alice.namespaces.ns", {"namespaces.ns"}),
        ("storage.alice.namespaces.ns.a", {"namespaces.ns.a"}),
        ("storage.alice.namespaces.", set()),
        ("storage.alice.", set()),
        ("storage", set()),
        ("storage.bob", set()),
        ("storage.alice.files.", set()),
        ("storage.Alice", set()),
        ("storage.alice.files.*", set()),
        ("", set()),
    ],
)
def test_scope_keys_are_compared_whole(key: str, grants: set[str]) -> None:
    principal = accept(token({"type": "api_token", "scopes": {key: ["delete"]}}))
    resources = ["files", "files.ns", "files.ns.a", "namespaces.ns", "namespaces.ns.a"]
    assert {r for r in resources if principal.granted(r, "delete")} == grants
    assert not any(principal.granted(r, "create") for r in resources)


def test_scopes_add_up() -> None:
    scopes = {"storage.alice": ["read"], "storage.alice.files.ns": ["delete"]}
    principal = accept(token({"type": "api_token", "scopes": scopes}))
    assert principal.granted("files.ns", "read")
    assert principal.granted("files.ns", "delete")
    assert not principal.granted("files.other", "delete")
    assert hash(principal) == hash(accept(token({"type": "api_token"})))


@pytest.mark.parametrize("scopes", [..., None, {}, {"storage.alice": []}])
def test_an_api_token_without_scopes_may_do_nothing(scopes: object) -> None:
    principal = accept(token({"type": "api_token", "scopes": scopes, "admin": True}))
    assert principal.admin
    assert not principal.granted("files.default", "read")


@pytest.mark.parametrize(
    "scopes", ["storage.alice", ["storage.alice"], 1, {"a": "read"}, {"a": [1]}, {"a": None}]
)
def test_ill_typed_scopes_are_refused(scopes: object) -> None:
    refuse(token({"type": "api_token", "scopes": scopes}))


def test_the_prefix_is_dropped_once() -> None:
    assert accept("ecloud_" + token()).user == "alice"
    refuse("ecloud_ecloud_" + token())
    refuse("ECLOUD_" + token())


# Times.


@pytest.mark.parametrize(
    ("claim", "offset", "good"),
    [
        ("exp", -30.0, False),
        ("exp", -29.999, True),
        ("exp", 1e15, True),
        ("nbf", 30.0, True),
        ("nbf", 30.001, False),
        ("iat", 30.0, True),
        ("iat", 30.001, False),
        ("iat", -1e9, True),
    ],
)
def test_leeway_is_thirty_seconds(claim: str, offset: float, good: bool) -> None:
    text = token({claim: NOW + offset})
    if good:
        accept(text)
    else:
        refuse(text)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [None, True, "1800000000", [], {}, 10**400, ""])
def test_times_are_finite_numbers(claim: str, value: object) -> None:
    refuse(token({claim: value}))


def test_exp_is_required() -> None:
    assert "exp" in refuse(token({"exp": ...}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_or_floats_do_not_have(number: str) -> None:
    payload = f'{{"sub":"alice","exp":{number}}}'
    refuse(raw_token(b'{"alg":"HS256"}', payload.encode(), hs256(SECRET)))


def test_a_remembered_token_still_begins_and_expires(still_clock: Clock) -> None:
    verifier = hs_verifier()
    text = token({"nbf": NOW + 100, "exp": NOW + 200})
    refuse(text, verifier)
    still_clock.now = NOW + 70
    accept(text, verifier)
    still_clock.now = NOW + 229
    accept(text, verifier)
    still_clock.now = NOW + 230
    assert "expired" in refuse(text, verifier)


def test_the_memory_is_bounded_and_saves_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = hs_verifier()
    checks = 0

    def count(segment: str) -> bytes:
        nonlocal checks
        checks += 1
        return base64.urlsafe_b64decode(segment + "==")

    monkeypatch.setattr("sfs_server.auth.tokens.decode_segment", count)
    texts = [token({"sub": f"user{i}"}) for i in range(1025)]
    for text in texts[:1024]:
        assert accept(text, verifier) == accept(text, verifier)
    assert checks == 1024
    accept(texts[0], verifier)
    accept(texts[1024], verifier)
    assert checks == 1025
    # The newest pushed out the one not used for the longest time: the second, not the first.
    accept(texts[0], verifier)
    assert checks == 1025
    accept(texts[1], verifier)
    assert checks == 1026


# Issuer and audience.


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"iss": "https://id", "aud": "sfs"}, True),
        ({"iss": "https://id", "aud": ["other", "sfs"]}, True),
        ({"iss": "https://id", "aud": ["other"]}, False),
        ({"iss": "https://id", "aud": []}, False),
        ({"iss": "https://id", "aud": "sfs2"}, False),
        ({"iss": "https://id", "aud": {"sfs": 1}}, False),
        ({"iss": "https://id"}, False),
        ({"iss": "https://id/", "aud": "sfs"}, False),
        ({"iss": ["https://id"], "aud": "sfs"}, False),
        ({"aud": "sfs"}, False),
    ],
)
def test_issuer_and_audience(claims: dict[str, object], good: bool) -> None:
    verifier = hs_verifier(Config(jwt_issuer="https://id", jwt_audience="sfs"))
    if good:
        accept(token(claims), verifier)
    else:
        refuse(token(claims), verifier)


def test_an_issuer_is_ignored_where_none_is_configured() -> None:
    accept(token({"iss": "https://evil"}))


@pytest.mark.parametrize("audience", ["other", "", None, [], ["registry.example"], 0, False, {}])
def test_a_token_for_an_audience_is_for_somebody_else_where_none_is_configured(
    audience: object,
) -> None:
    for config in (Config(), Config(jwt_issuer="https://id")):
        reason = refuse(token({"iss": "https://id", "aud": audience}), hs_verifier(config))
        assert "-jwt-audience" in reason


def test_a_principal_knows_when_its_token_expires_without_leeway() -> None:
    assert accept(token({"exp": NOW + 60.5})).expires == NOW + 60.5
    assert accept(token({"exp": NOW - 20})).expires == NOW - 20
    assert ANONYMOUS.expires == math.inf


ODD: list[object] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "x" * 500,
    [],
    [[]],
    ["a", 1],
    {},
    {"a": {"a": [None]}},
]


@pytest.mark.parametrize("odd", [*ODD, "\ud800", "\u202e", "\x00"])
def test_odd_values_anywhere_are_read_or_refused_and_never_fail(odd: object) -> None:
    headers = ("alg", "typ", "kid", "crit", "b64", "jku", "jwk", "x5c", "cty", "zip", "enc")
    claims = ("sub", "user_id", "username", "exp", "nbf", "iat", "iss", "aud", "type", "scopes")
    texts = [token(header={name: odd}) for name in headers]
    texts += [token({name: odd}) for name in (*claims, "admin", "is_admin", "jti", "groups")]
    api: dict[str, object] = {"type": "api_token"}
    texts += [token({**api, "scopes": scopes}) for scopes in ({"storage.alice": odd}, [odd], odd)]
    configured = hs_verifier(Config(jwt_issuer="https://id", jwt_audience="sfs"))
    for verifier in (hs_verifier(), configured):
        for text in texts:
            with suppress(InvalidToken):
                assert accept(text, verifier).user


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"x":' * 63 + "{}" + "}" * 63, True),
        ('{"x":' * 64 + "{}" + "}" * 64, False),
        ('{"x":' + "[" * 64 + "]" * 64 + "}", False),
        ('{"x":[' + ",".join(["[]"] * 500) + "]}", True),
        (json.dumps({"x": "[{" * 500 + '"' * 99}), True),
        ('{"x":' * 13_000, False),
        ('{"x":"' + '\\"[' * 20_000, False),
    ],
)
def test_json_is_nested_no_deeper_than_is_allowed(text: str, good: bool) -> None:
    if good:
        assert load_json_object(text.encode()) == json.loads(text)
    else:
        with pytest.raises(ValueError):  # noqa: PT011 - any of those it raises
            load_json_object(text.encode())
