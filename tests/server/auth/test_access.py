"""The table 'Who may do what' of the HTTP contract, cell by cell."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gfs.errors import NoSuchDirectory
from sfs_server.auth.access import (
    Action,
    Namespace,
    publicly_readable,
    require,
    require_creating,
    visible,
)
from sfs_server.auth.tokens import ANONYMOUS, Principal
from sfs_server.errors import Problem, problem_of

CREATED = datetime(2024, 1, 1, tzinfo=UTC)

NAMESPACES: dict[str, Namespace | None] = {
    "default": Namespace("default", False, None, CREATED),
    "shared": Namespace("shared", False, None, CREATED),
    "owned": Namespace("owned", False, "olga", CREATED),
    "hidden": Namespace("hidden", True, "olga", CREATED),
    "hidden shared": Namespace("hidden.shared", True, None, CREATED),
    "hidden default": Namespace("default", True, None, CREATED),
    "missing": None,
}

PRINCIPALS = {
    "anonymous": ANONYMOUS,
    "user": Principal("uma"),
    "owner": Principal("olga"),
    "admin": Principal("ada", admin=True),
}

ORDER = ("anonymous", "user", "owner", "admin")

# One status for each of ORDER; 200 stands for yes.
TABLE: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("default", "READ"): (200, 200, 200, 200),
    ("default", "CREATE"): (401, 200, 200, 200),
    ("default", "DELETE"): (401, 200, 200, 200),
    ("default", "UPDATE_NAMESPACE"): (401, 403, 403, 200),
    ("default", "DELETE_NAMESPACE"): (401, 403, 403, 403),
    ("shared", "READ"): (401, 200, 200, 200),
    ("shared", "CREATE"): (401, 200, 200, 200),
    ("shared", "DELETE"): (401, 200, 200, 200),
    ("shared", "UPDATE_NAMESPACE"): (401, 403, 403, 200),
    ("shared", "DELETE_NAMESPACE"): (401, 403, 403, 200),
    ("owned", "READ"): (401, 200, 200, 200),
    ("owned", "CREATE"): (401, 403, 200, 200),
    ("owned", "DELETE"): (401, 403, 200, 200),
    ("owned", "UPDATE_NAMESPACE"): (401, 403, 200, 200),
    ("owned", "DELETE_NAMESPACE"): (401, 403, 200, 200),
    ("hidden", "READ"): (404, 404, 200, 200),
    ("hidden", "CREATE"): (404, 404, 200, 200),
    ("hidden", "DELETE"): (404, 404, 200, 200),
    ("hidden", "UPDATE_NAMESPACE"): (404, 404, 200, 200),
    ("hidden", "DELETE_NAMESPACE"): (404, 404, 200, 200),
    ("hidden shared", "READ"): (404, 404, 404, 200),
    ("hidden shared", "CREATE"): (404, 404, 404, 200),
    ("hidden shared", "DELETE"): (404, 404, 404, 200),
    ("hidden shared", "UPDATE_NAMESPACE"): (404, 404, 404, 200),
    ("hidden shared", "DELETE_NAMESPACE"): (404, 404, 404, 200),
    ("hidden default", "READ"): (404, 404, 404, 200),
    ("hidden default", "CREATE"): (404, 404, 404, 200),
    ("hidden default", "DELETE"): (404, 404, 404, 200),
    ("hidden default", "UPDATE_NAMESPACE"): (404, 404, 404, 200),
    ("hidden default", "DELETE_NAMESPACE"): (404, 404, 404, 403),
    ("missing", "READ"): (404, 404, 404, 404),
    ("missing", "CREATE"): (404, 404, 404, 404),
    ("missing", "DELETE"): (404, 404, 404, 404),
    ("missing", "UPDATE_NAMESPACE"): (404, 404, 404, 404),
    ("missing", "DELETE_NAMESPACE"): (404, 404, 404, 404),
    ("missing", "CREATE_NAMESPACE"): (401, 200, 200, 200),
}

CELLS = [
    (namespace, action, who, status)
    for (namespace, action), row in TABLE.items()
    for who, status in zip(ORDER, row, strict=True)
]


def answer(
    principal: Principal, action: str, namespace: str, *, anonymous_read: bool = True
) -> Problem | None:
    try:
        if action == "CREATE_NAMESPACE":
            require_creating(principal, namespace)
            return None
        require(principal, Action[action], NAMESPACES[namespace], anonymous_read=anonymous_read)
    except Problem as problem:
        return problem
    return None


def status_of(problem: Problem | None) -> int:
    return 200 if problem is None else problem.status


def test_the_table_is_whole() -> None:
    file_actions = {a.name for a in Action} - {"CREATE_NAMESPACE"}
    expected = set(itertools.product(NAMESPACES, file_actions)) | {("missing", "CREATE_NAMESPACE")}
    assert set(TABLE) == expected
    assert set(ORDER) == set(PRINCIPALS)


@pytest.mark.parametrize(("namespace", "action", "who", "status"), CELLS)
def test_table(namespace: str, action: str, who: str, status: int) -> None:
    assert status_of(answer(PRINCIPALS[who], action, namespace)) == status


@pytest.mark.parametrize(("namespace", "action", "who", "status"), CELLS)
def test_table_without_anonymous_reading(
    namespace: str, action: str, who: str, status: int
) -> None:
    if (namespace, action, who) == ("default", "READ", "anonymous"):
        status = 401
    found = answer(PRINCIPALS[who], action, namespace, anonymous_read=False)
    assert status_of(found) == status


def all_scopes(principal: Principal) -> Principal:
    every = frozenset({"read", "create", "update", "delete"})
    scopes = {f"storage.{principal.user}": every}
    return Principal(principal.user, admin=principal.admin, scopes=scopes)


@pytest.mark.parametrize(("namespace", "action", "who", "status"), CELLS)
def test_table_for_api_tokens(namespace: str, action: str, who: str, status: int) -> None:
    principal = PRINCIPALS[who]
    if principal.anonymous:
        return
    assert status_of(answer(all_scopes(principal), action, namespace)) == status
    nothing = Principal(principal.user, admin=principal.admin, scopes={})
    found = answer(nothing, action, namespace)
    assert status_of(found) == (404 if status == 404 else 403)


SCOPE_CASES = [
    ("READ", "owned", "storage.olga.files.owned", "read", 200),
    ("CREATE", "owned", "storage.olga.files.owned", "create", 200),
    ("DELETE", "owned", "storage.olga.files.owned", "delete", 200),
    ("READ", "owned", "storage.olga.files.owned", "create", 403),
    ("CREATE", "owned", "storage.olga.files.owned", "read", 403),
    ("DELETE", "owned", "storage.olga.files.owned", "create", 403),
    ("READ", "shared", "storage.olga.files.owned", "read", 403),
    ("READ", "default", "storage.olga.files.owned", "read", 403),
    ("READ", "hidden", "storage.olga.files.hidden", "read", 200),
    ("READ", "hidden", "storage.olga.files.owned", "read", 403),
    ("READ", "hidden shared", "storage.olga.files.hidden.shared", "read", 404),
    ("READ", "owned", "storage.olga.files", "read", 200),
    ("READ", "owned", "storage.uma.files.owned", "read", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces", "create", 200),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces", "update", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.files", "create", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces.missing", "create", 200),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces.missing", "update", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces.miss", "create", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.namespaces.missing.too", "create", 403),
    ("CREATE_NAMESPACE", "missing", "storage.olga.files.missing", "create", 403),
    ("UPDATE_NAMESPACE", "owned", "storage.olga.namespaces", "update", 200),
    ("UPDATE_NAMESPACE", "owned", "storage.olga.namespaces", "delete", 403),
    ("UPDATE_NAMESPACE", "owned", "storage.olga.namespaces.owned", "update", 200),
    ("UPDATE_NAMESPACE", "hidden", "storage.olga.namespaces.owned", "update", 403),
    ("UPDATE_NAMESPACE", "shared", "storage.olga.namespaces", "update", 403),
    ("DELETE_NAMESPACE", "owned", "storage.olga.namespaces", "delete", 200),
    ("DELETE_NAMESPACE", "owned", "storage.olga.namespaces.owned", "delete", 200),
    ("DELETE_NAMESPACE", "owned", "storage.olga.namespaces.owned", "create", 403),
    ("DELETE_NAMESPACE", "owned", "storage.olga.namespaces.default", "delete", 403),
    ("DELETE_NAMESPACE", "owned", "storage.olga.files.owned", "delete", 403),
    ("CREATE", "owned", "storage.olga", "create", 200),
]


@pytest.mark.parametrize(("action", "namespace", "key", "granted", "status"), SCOPE_CASES)
def test_scopes(action: str, namespace: str, key: str, granted: str, status: int) -> None:
    principal = Principal("olga", scopes={key: frozenset({granted})})
    assert status_of(answer(principal, action, namespace)) == status


def test_hidden_and_missing_look_the_same() -> None:
    from_the_store = problem_of(NoSuchDirectory("anything"))
    seen = {(from_the_store.detail, tuple(from_the_store.headers))}
    for namespace, action, who, status in CELLS:
        if status == 404:
            problem = answer(PRINCIPALS[who], action, namespace)
            assert problem is not None
            assert problem.document() == from_the_store.document()
            seen.add((problem.detail, tuple(problem.headers)))
    assert len(seen) == 1


def test_refusals_say_how_to_sign_in_and_nothing_of_the_owner() -> None:
    for namespace, action, who, status in CELLS:
        problem = answer(PRINCIPALS[who], action, namespace)
        expected = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        assert problem is None or problem.headers == expected
        assert problem is None or "olga" not in problem.detail


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        ("anonymous", {"default"}),
        ("user", {"default", "shared", "owned"}),
        ("owner", {"default", "shared", "owned", "hidden"}),
        (
            "admin",
            {"default", "shared", "owned", "hidden", "hidden shared", "hidden default"},
        ),
    ],
)
@pytest.mark.parametrize("anonymous_read", [True, False])
def test_visible(who: str, shown: set[str], anonymous_read: bool) -> None:
    found = {
        key
        for key, namespace in NAMESPACES.items()
        if namespace and visible(PRINCIPALS[who], namespace, anonymous_read=anonymous_read)
    }
    assert found == (set() if who == "anonymous" and not anonymous_read else shown)


def test_visible_to_an_api_token_needs_the_scope_to_read() -> None:
    scopes = {
        "storage.olga.files.hidden": frozenset({"read"}),
        "storage.olga.files.hidden.shared": frozenset({"read"}),
        "storage.olga.files.owned": frozenset({"create"}),
    }
    principal = Principal("olga", scopes=scopes)
    found = {
        key
        for key, namespace in NAMESPACES.items()
        if namespace and visible(principal, namespace, anonymous_read=True)
    }
    assert found == {"hidden"}


@pytest.mark.parametrize("anonymous_read", [True, False])
def test_publicly_readable(anonymous_read: bool) -> None:
    found = {
        key
        for key, namespace in NAMESPACES.items()
        if namespace and publicly_readable(namespace, anonymous_read=anonymous_read)
    }
    assert found == ({"default"} if anonymous_read else set())
