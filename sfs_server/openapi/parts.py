"""The parts of ``/openapi.json`` that several operations share: schemas, parameters, headers,
answers. What uses them is in :mod:`sfs_server.openapi.contract`."""

from __future__ import annotations

from typing import Any

from gfs.paths import MAX_DIRECTORY_CHARACTERS, MAX_NAME_BYTES
from sfs_server.auth import DEFAULT_TTL, MAX_TTL
from sfs_server.http import MAX_LIMIT, RESERVED

Json = dict[str, Any]

_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_BOOLEAN = {"type": "boolean"}

_INNER = r"[^/\\\u0000-\u001f\u007f-\u009f]"
_OUTER = r"[^/\\\u0000-\u001f\u007f-\u009f\s]"


def ref(kind: str, name: str) -> Json:
    """A reference to one of COMPONENTS."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Json, *, optional: str = "") -> Json:
    required = [name for name in properties if name not in optional.split()]
    return {"type": "object", "properties": properties, "required": required}


SCHEMAS: Json = {
    "Problem": {
        "description": "RFC 9457.",
        **_object(
            {
                "type": {"const": "about:blank"},
                "title": _TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string", "description": "What was wrong, and what to do."},
            }
        ),
    },
    "NamespaceName": {
        "type": "string",
        "description": f"Not '.' or '..', nor one of {', '.join(sorted(RESERVED))}.",
        "maxLength": MAX_DIRECTORY_CHARACTERS,
        "pattern": r"^(\.{0,1}[A-Za-z0-9_-]|\.\.[A-Za-z0-9._-])[A-Za-z0-9._-]*$",
    },
    "FileName": {
        "type": "string",
        "description": f"At most {MAX_NAME_BYTES} bytes of UTF-8, percent-decoded once.",
        "minLength": 1,
        "maxLength": MAX_NAME_BYTES,
        "pattern": f"^{_OUTER}({_INNER}*{_OUTER})?$",
        "not": {"enum": [".", ".."]},
    },
    "File": _object(
        {
            "name": _TEXT,
            "path": {"type": "string", "description": "The URL path of the inline view."},
            "namespace": _TEXT,
            "size": _COUNT,
            "created_at": {"type": "integer", "description": "Unix seconds."},
            "modified_at": {"type": "integer", "description": "Unix seconds."},
            "content_type": _TEXT,
            "etag": _TEXT,
        }
    ),
    "Stored": _object(
        {
            "status": {"const": "ok"},
            "name": _TEXT,
            "namespace": _TEXT,
            "size": _COUNT,
            "etag": _TEXT,
        }
    ),
    "Deleted": _object({"status": {"const": "ok"}, "name": _TEXT, "namespace": _TEXT}),
    "Namespace": _object(
        {
            "name": _TEXT,
            "count": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "Number of files; null while they cannot be counted: see the log.",
            },
            "hidden": _BOOLEAN,
            "owner": {"type": ["string", "null"], "description": "null: it is shared."},
            "created_at": {"type": "integer", "description": "Unix seconds."},
        }
    ),
    "NewNamespace": _object(
        {
            "name": ref("schemas", "NamespaceName"),
            "hidden": {"type": "boolean", "default": False},
            "visibility": ref("schemas", "Visibility"),
        },
        optional="hidden visibility",
    ),
    "NamespaceChange": {
        **_object(
            {"hidden": _BOOLEAN, "visibility": ref("schemas", "Visibility")},
            optional="hidden visibility",
        ),
        "anyOf": [{"required": ["hidden"]}, {"required": ["visibility"]}],
    },
    "Visibility": {
        "description": "May be given instead of hidden, or must agree with it: private (or 0) is "
        "hidden; internal is not, nor is public (or 2) for 'default' where anonymous callers may "
        "read it. Any other value is refused.",
        "enum": [0, 2, "private", "internal", "public"],
    },
    "LinkSeconds": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_TTL,
        "default": DEFAULT_TTL,
        "description": "Seconds that the link is valid; it ends earlier if its maker's token does.",
    },
    "NewLink": {
        "oneOf": [
            _object(
                {
                    "namespace": ref("schemas", "NamespaceName"),
                    "file": ref("schemas", "FileName"),
                    "ttl": ref("schemas", "LinkSeconds"),
                },
                optional="ttl",
            ),
            _object(
                {"transfer": ref("schemas", "TransferId"), "ttl": ref("schemas", "LinkSeconds")},
                optional="ttl",
            ),
        ]
    },
    "Link": _object(
        {
            "url": {"type": "string", "description": "Path and query, percent-encoded."},
            "download_url": {"type": "string", "description": "Of a link to a file."},
            "expires_at": {"type": "integer", "description": "Unix seconds."},
        },
        optional="download_url",
    ),
    "Status": _object(
        {
            "engine": _TEXT,
            "chunkserver_count": _COUNT,
            "total_servers": _COUNT,
            "capacity": {"type": "integer", "minimum": 0, "description": "Bytes."},
            "used": {"type": "integer", "minimum": 0, "description": "Bytes."},
        }
    ),
    "Session": _object({"user": _TEXT, "username": _TEXT, "admin": _BOOLEAN}),
    "Alive": _object({"status": {"const": "ok"}}),
    "Progress": {
        "description": "The data of one event.",
        **_object(
            {
                "id": ref("schemas", "TransferId"),
                "direction": {"enum": ["upload", "download"]},
                "bytes": _COUNT,
                "total": {"type": ["integer", "null"], "description": "null: not known yet."},
                "done": _BOOLEAN,
                "error": {"type": "string", "description": "Why it failed; in its last event."},
            },
            optional="error",
        ),
    },
    "TransferId": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    "Checks": _object(
        {"checks": {"type": "object", "additionalProperties": {"type": "string"}}},
    ),
}

HEADERS: Json = {
    "ETag": {"description": "Strong; changes whenever the bytes may have.", "schema": _TEXT},
    "LastModified": {"schema": _TEXT},
    "AcceptRanges": {"schema": {"const": "bytes"}},
    "ContentRange": {"schema": _TEXT},
    "ContentDisposition": {"schema": _TEXT},
    "Location": {"description": "The path of the inline view.", "schema": _TEXT},
    "NextPage": {"description": 'To the next page, with rel="next".', "schema": _TEXT},
    "RetryAfter": {"description": "Seconds.", "schema": _TEXT},
    "Challenge": {"description": "Bearer (RFC 6750).", "schema": _TEXT},
}


def _in(place: str, name: str, schema: Json, description: str) -> Json:
    parameter = {"in": place, "name": name, "description": description, "schema": schema}
    return {**parameter, "required": True} if place == "path" else parameter


_NAMESPACE = ref("schemas", "NamespaceName")

PARAMETERS: Json = {
    "namespace": _in("path", "namespace", _NAMESPACE, "The namespace."),
    "name": _in("path", "name", _NAMESPACE, "The namespace."),
    "file": _in("path", "file", ref("schemas", "FileName"), "The file's name."),
    "inNamespace": _in("query", "namespace", _NAMESPACE, "'default' if left out."),
    "prefix": _in("query", "prefix", _TEXT, "Only the files whose names begin so."),
    "after": _in("query", "after", _TEXT, "Only the files that come after this name."),
    "limit": _in(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        "Files in a page; without it, all of them.",
    ),
    "path": _in("path", "path", _TEXT, "May have slashes in it."),
    "transfer": _in("query", "id", ref("schemas", "TransferId"), "The id of the transfer."),
    "watched": _in(
        "header", "X-Transfer-Id", ref("schemas", "TransferId"), "Lets it be watched by this id."
    ),
    "overwrite": _in("query", "overwrite", _TEXT, "'true' allows to replace."),
    "range": _in("header", "Range", _TEXT, "RFC 9110 §14.2; up to 16 ranges of bytes."),
    "ifMatch": _in("header", "If-Match", _TEXT, "RFC 9110 §13.1.1."),
    "ifNoneMatch": _in("header", "If-None-Match", _TEXT, "RFC 9110 §13.1.2."),
    "ifModifiedSince": _in("header", "If-Modified-Since", _TEXT, "RFC 9110 §13.1.3."),
    "ifUnmodifiedSince": _in("header", "If-Unmodified-Since", _TEXT, "RFC 9110 §13.1.4."),
    "ifRange": _in("header", "If-Range", _TEXT, "RFC 9110 §13.1.5."),
    "fileSize": _in(
        "header",
        "X-File-Size",
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "The size of the file, where the length of the body does not say it.",
    ),
    "reprDigest": _in("header", "Repr-Digest", _TEXT, "RFC 9530; sha-256 of the file."),
    "contentDigest": _in("header", "Content-Digest", _TEXT, "RFC 9530; sha-256 of the body."),
}

_PROBLEMS = {
    400: "Something in the request cannot be; the detail says what.",
    401: "A token is needed, or the one that came is no good.",
    403: "The caller may not do this.",
    404: "There is no such file or namespace, or the caller may not know of it.",
    408: "No byte of the body arrived for too long.",
    409: "Something of that name exists.",
    412: "A precondition of the request is not met.",
    413: "The body is larger than the service takes.",
    414: "The target of the request is too long.",
    415: "The body has a Content-Encoding: bytes are stored as they are sent.",
    416: "No range of the request begins in the file.",
    417: "The only expectation that can be met is 100-continue.",
    429: "Too many event streams are open.",
    431: "The head of the request is too large.",
    500: "The service failed.",
    501: "The request says that its body is a part of a file.",
    503: "The store or the database cannot be reached now.",
    507: "The store, or the disk of the database, is full.",
}
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate", "Challenge"),
    503: ("Retry-After", "RetryAfter"),
    429: ("Retry-After", "RetryAfter"),
}


def _problem(status: int, description: str) -> Json:
    answer: Json = {
        "description": description,
        "content": {
            "application/problem+json": {"schema": ref("schemas", "Problem")},
            "text/html": {"schema": {"type": "string", "description": "To a browser navigating."}},
        },
    }
    if status in _PROBLEM_HEADERS:
        name, shared = _PROBLEM_HEADERS[status]
        answer["headers"] = {name: ref("headers", shared)}
    return answer


RESPONSES: Json = {f"Problem{status}": _problem(status, text) for status, text in _PROBLEMS.items()}

SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same token, or that of a link, where no header can be set.",
    },
}

COMPONENTS: Json = {
    "schemas": SCHEMAS,
    "headers": HEADERS,
    "parameters": PARAMETERS,
    "responses": RESPONSES,
    "securitySchemes": SECURITY_SCHEMES,
}
