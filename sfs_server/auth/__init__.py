"""Authentication and authorization: who sent a request, and what they may do.

Tokens, JWK sets and links turn the credential of a request into a ``Principal``.
:mod:`sfs_server.auth.access`, which is pure, decides whether a Principal may do an action in a
Namespace: it returns, or raises a Problem 401, 403 or 404.
"""

from sfs_server.auth.access import (
    DEFAULT_NAMESPACE,
    Action,
    Namespace,
    listed_names,
    may_know,
    publicly_readable,
    require,
    require_creating,
    signed_in,
)
from sfs_server.auth.claims import (
    ANONYMOUS,
    MAX_USER_CHARACTERS,
    InvalidToken,
    Principal,
    RepeatedMember,
    load_json_object,
)
from sfs_server.auth.links import (
    DEFAULT_TTL,
    MAX_TTL,
    Link,
    Links,
    Subject,
    file_subject,
    folder_subject,
    looks_like_link,
    subjects_of,
    transfer_subject,
)
from sfs_server.auth.secret import copy_secret, secret_of, write_private
from sfs_server.auth.tokens import Verifier, credential, mint

__all__ = [
    "ANONYMOUS",
    "DEFAULT_NAMESPACE",
    "DEFAULT_TTL",
    "MAX_TTL",
    "MAX_USER_CHARACTERS",
    "Action",
    "InvalidToken",
    "Link",
    "Links",
    "Namespace",
    "Principal",
    "RepeatedMember",
    "Subject",
    "Verifier",
    "copy_secret",
    "credential",
    "file_subject",
    "folder_subject",
    "listed_names",
    "load_json_object",
    "looks_like_link",
    "may_know",
    "mint",
    "publicly_readable",
    "require",
    "require_creating",
    "secret_of",
    "signed_in",
    "subjects_of",
    "transfer_subject",
    "write_private",
]
