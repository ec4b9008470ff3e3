"""Who is asking, and what they may do.

A credential becomes a ``Principal`` (tokens, JWK sets, signed links). A Principal and a Namespace
become yes, or a Problem 401, 403 or 404 (:mod:`sfs_server.auth.access`, pure).
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
    looks_like_link,
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
    "listed_names",
    "load_json_object",
    "looks_like_link",
    "may_know",
    "mint",
    "publicly_readable",
    "require",
    "require_creating",
    "secret_of",
    "transfer_subject",
    "write_private",
]
