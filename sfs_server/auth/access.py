"""Who may do what: whether a principal may do an action in a namespace. Pure.

The rules are the table 'Who may do what' of the HTTP contract. They are checked in an order that
reveals no more to a caller than they may learn: first whether they may learn that the namespace
exists (if not, 404, with the same bytes as for one that does not exist), then whether they sent a
credential (401), then what the scopes of their API token allow (403), then whether they own the
namespace or are an admin (403).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sfs_server.auth.claims import Principal
from sfs_server.errors import Problem

DEFAULT_NAMESPACE = "default"
"""The name of the namespace that always exists. It is shared, and can be read without a credential
if the server is configured so (``anonymous_read``)."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A row of the table ``namespaces``. ``owner`` is the user who created the namespace, None if
    it is shared. ``created_at`` has the time zone UTC.
    """

    name: str
    hidden: bool
    owner: str | None
    created_at: datetime


class Action(Enum):
    """What a request wants to do. The first three concern files; READ includes listing them."""

    READ = "read"
    CREATE = "create"
    DELETE = "delete"
    CREATE_NAMESPACE = "create a namespace"
    UPDATE_NAMESPACE = "update a namespace"
    DELETE_NAMESPACE = "delete a namespace"


_NAMESPACE_SCOPES = {
    Action.CREATE_NAMESPACE: "create",
    Action.UPDATE_NAMESPACE: "update",
    Action.DELETE_NAMESPACE: "delete",
}


def require(
    principal: Principal, action: Action, namespace: Namespace | None, *, anonymous_read: bool
) -> Namespace:
    """Return ``namespace`` if ``principal`` may do ``action`` there, else raise Problem 401, 403 or
    404.

    ``namespace`` is None if the request names one that does not exist. ``anonymous_read``: whether
    everyone may read ``default``. For CREATE_NAMESPACE call ``require_creating`` instead.
    """
    if namespace is None or not may_know(principal, namespace):
        raise Problem(404, "There is no such namespace.")
    if principal.user is None:
        if action is Action.READ and publicly_readable(namespace, anonymous_read=anonymous_read):
            return namespace
        raise _not_signed_in()
    on_files = action not in _NAMESPACE_SCOPES
    if principal.scopes is not None:
        kind = "files" if on_files else "namespaces"
        _require_scope(principal, action, f"{kind}.{namespace.name}")
    if action is Action.DELETE_NAMESPACE and namespace.name == DEFAULT_NAMESPACE:
        raise Problem(403, f"The namespace {DEFAULT_NAMESPACE} cannot be deleted.")
    open_to_users = action is Action.READ or (on_files and namespace.owner is None)
    if not (open_to_users or principal.admin or _owns(principal, namespace)):
        changed = "the files of this" if on_files else "or delete a"
        raise Problem(403, f"Only its owner or an admin may change {changed} namespace.")
    return namespace


def require_creating(principal: Principal, name: str) -> None:
    """Return if ``principal`` may create a namespace ``name``, else raise Problem 401 or 403."""
    signed_in(principal)
    _require_scope(principal, Action.CREATE_NAMESPACE, f"namespaces.{name}")


def signed_in(principal: Principal) -> str:
    """The user that ``principal`` is. Raises Problem 401 if they are not signed in."""
    if principal.user is None:
        raise _not_signed_in()
    return principal.user


def visible(principal: Principal, namespace: Namespace, *, anonymous_read: bool) -> bool:
    """Whether the list of namespaces shows ``namespace`` to ``principal``, that is, whether they
    may read its files."""
    if principal.anonymous:
        return publicly_readable(namespace, anonymous_read=anonymous_read)
    return may_know(principal, namespace) and principal.granted(
        f"files.{namespace.name}", Action.READ.value
    )


def listed_names(principal: Principal, *, anonymous_read: bool) -> frozenset[str] | None:
    """The names that the list of namespaces may contain for ``principal``, by ``anonymous_read`` or
    by their scopes; None for no restriction. Which of these namespaces exist, and are hidden from
    ``principal``, is not checked here; see ``visible``."""
    if principal.anonymous:
        return frozenset({DEFAULT_NAMESPACE} if anonymous_read else ())
    if principal.scopes is None or principal.granted("files", Action.READ.value):
        return None
    prefix = f"storage.{principal.user}.files."
    names = (key.removeprefix(prefix) for key in principal.scopes if key.startswith(prefix))
    return frozenset(
        name
        for name in names
        if name.isprintable()  # no namespace has another name
        and principal.granted(f"files.{name}", Action.READ.value)
    )


def publicly_readable(namespace: Namespace, *, anonymous_read: bool) -> bool:
    """Whether a caller without a credential may read the files of ``namespace``."""
    return anonymous_read and namespace.name == DEFAULT_NAMESPACE and not namespace.hidden


def _owns(principal: Principal, namespace: Namespace) -> bool:
    # A shared namespace has the owner None, and an anonymous caller the user None: not an owner.
    return namespace.owner is not None and principal.user == namespace.owner


def may_know(principal: Principal, namespace: Namespace) -> bool:
    """Whether ``principal`` may learn that ``namespace`` exists."""
    return not namespace.hidden or principal.admin or _owns(principal, namespace)


def _not_signed_in() -> Problem:
    return Problem(401, "Sign in to do this.", {"WWW-Authenticate": "Bearer"})


def _require_scope(principal: Principal, action: Action, resource: str) -> None:
    if not principal.granted(resource, _NAMESPACE_SCOPES.get(action, action.value)):
        raise Problem(403, "The scopes of this API token do not allow this.")
