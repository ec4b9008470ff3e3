"""The parts of ``/openapi.json`` that several operations share: schemas, parameters, headers,
responses. What uses them is in :mod:`sfs_server.openapi.contract`."""

from __future__ import annotations

from typing import Any

from gfs.paths import MAX_DIRECTORY_CHARACTERS, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_SEGMENTS
from sfs_server.auth import DEFAULT_TTL, MAX_TTL
from sfs_server.http import MAX_LIMIT, MAX_SIZE, RESERVED, tus

Json = dict[str, Any]

_COUNT = {"type": "integer", "minimum": 0}
_SIZE = {"type": "integer", "minimum": 0, "maximum": MAX_SIZE}
_TEXT = {"type": "string"}
_TIME = {"type": "integer", "description": "The time is in seconds since the Unix epoch."}
_BOOLEAN = {"type": "boolean"}
_ENTRY_NAME = {
    "type": "string",
    "description": "This is the path in the listed folder, or in the namespace where the files at "
    "all depths are listed.",
}

_INNER = r"[^/\\\u0000-\u001f\u007f-\u009f]"
_OUTER = r"[^/\\\u0000-\u001f\u007f-\u009f\s]"


_SEGMENT = rf"(?!\.{{1,2}}(/|$)){_OUTER}({_INNER}*{_OUTER})?"


def ref(kind: str, name: str) -> Json:
    """A reference to one of COMPONENTS."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(properties: Json, *, optional: str = "") -> Json:
    required = [name for name in properties if name not in optional.split()]
    return {"type": "object", "properties": properties, "required": required}


SCHEMAS: Json = {
    "Problem": {
        "description": "This is what went wrong, as a problem document of RFC 9457.",
        **_object(
            {
                "type": {"const": "about:blank"},
                "title": _TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {
                    "type": "string",
                    "description": "This says what was wrong, and what to do.",
                },
            }
        ),
    },
    "NamespaceName": {
        "type": "string",
        "description": f"Reserved are '.', '..' and {', '.join(sorted(RESERVED))}.",
        "maxLength": MAX_DIRECTORY_CHARACTERS,
        "pattern": r"^(\.{0,1}[A-Za-z0-9_-]|\.\.[A-Za-z0-9._-])[A-Za-z0-9._-]*$",
    },
    "FilePath": {
        "type": "string",
        "description": f"Up to {MAX_SEGMENTS} names, each like a FileName, are joined by slashes.",
        "minLength": 1,
        "maxLength": MAX_PATH_BYTES,
        "pattern": f"^{_SEGMENT}(/{_SEGMENT}){{0,{MAX_SEGMENTS - 1}}}$",
    },
    "FileName": {
        "type": "string",
        "description": f"The name has at most {MAX_NAME_BYTES} bytes of UTF-8 once it is decoded.",
        "minLength": 1,
        "maxLength": MAX_NAME_BYTES,
        "pattern": f"^{_OUTER}({_INNER}*{_OUTER})?$",
        "not": {"enum": [".", ".."]},
    },
    "Entry": {"oneOf": [ref("schemas", "File"), ref("schemas", "Folder")]},
    "File": _object(
        {
            "type": {"const": "file"},
            "name": _ENTRY_NAME,
            "path": {
                "type": "string",
                "description": "This is the path of the URL that shows the file or folder.",
            },
            "namespace": _TEXT,
            "size": _COUNT,
            "created_at": _TIME,
            "modified_at": _TIME,
            "content_type": _TEXT,
            "etag": _TEXT,
        }
    ),
    "Folder": _object(
        {
            "type": {"const": "folder"},
            "name": _ENTRY_NAME,
            "path": {
                "type": "string",
                "description": "This is the path of the URL of its index, with a slash at its end.",
            },
            "namespace": _TEXT,
            "modified_at": _TIME,
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
    "Changed": _object(
        {
            "status": {"const": "ok"},
            "name": {"type": "string", "description": "This is its path in the namespace."},
            "namespace": _TEXT,
            "etag": {"type": "string", "description": "This is the ETag of a file that was moved."},
        },
        optional="etag",
    ),
    "Namespace": _object(
        {
            "name": _TEXT,
            "count": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "This is the number of files, at any depth, or null while it is not "
                "known: until they have been counted for the first time, or again after very many "
                "of them were moved or deleted at once.",
            },
            "bytes": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "This is the size of these files together, or null like count.",
            },
            "hidden": _BOOLEAN,
            "owner": {
                "type": ["string", "null"],
                "description": "This is the user who owns it, or null where it is shared.",
            },
            "created_at": _TIME,
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
        "description": "It may be given instead of hidden, and must agree with it where both are "
        "given. One that is private (or 0) is hidden; one that is internal is not. Only 'default' "
        "may be public (or 2) where anonymous callers may read it. Any other value is refused.",
        "enum": [0, 2, "private", "internal", "public"],
    },
    "LinkSeconds": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_TTL,
        "default": DEFAULT_TTL,
        "description": "The link is valid for so many seconds, but ends with its maker's token.",
    },
    "NewLink": {
        "oneOf": [
            _object(
                {
                    "namespace": ref("schemas", "NamespaceName"),
                    "file": ref("schemas", "FilePath"),
                    "ttl": ref("schemas", "LinkSeconds"),
                },
                optional="ttl",
            ),
            _object(
                {
                    "namespace": ref("schemas", "NamespaceName"),
                    "folder": {
                        "anyOf": [ref("schemas", "FilePath"), {"const": ""}],
                        "description": "This is the path of the folder; it is empty for the top.",
                    },
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
            "url": {
                "type": "string",
                "description": "This is a path and a query, percent-encoded.",
            },
            "download_url": {
                "type": "string",
                "description": "This URL saves the file, or the folder as a ZIP file; a link to a "
                "transfer has none.",
            },
            "expires_at": _TIME,
        },
        optional="download_url",
    ),
    "Status": _object(
        {
            "engine": _TEXT,
            "chunkserver_count": _COUNT,
            "total_servers": _COUNT,
            "capacity": {**_COUNT, "description": "The store can hold so many bytes."},
            "used": {**_COUNT, "description": "The store holds so many bytes."},
        }
    ),
    "Session": _object({"user": _TEXT, "username": _TEXT, "admin": _BOOLEAN}),
    "Alive": _object({"status": {"const": "ok"}}),
    "Progress": {
        "description": "This is the data of one event.",
        **_object(
            {
                "id": ref("schemas", "TransferId"),
                "direction": {"enum": ["upload", "download"]},
                "bytes": _COUNT,
                "total": {
                    "type": ["integer", "null"],
                    "description": "This is the size of the whole, or null while it is unknown.",
                },
                "done": _BOOLEAN,
                "error": {
                    "type": "string",
                    "description": "The last event of a transfer that failed says why it failed.",
                },
            },
            optional="error",
        ),
    },
    "Change": {
        "description": "This is the data of one event.",
        "oneOf": [
            _object(
                {
                    "type": {"enum": ["file", "folder"]},
                    "name": _ENTRY_NAME,
                    "change": {"enum": ["put", "deleted"]},
                }
            ),
            {
                "description": "More has changed than is shown: the client should list again.",
                **_object({"change": {"const": "many"}}),
            },
        ],
    },
    "TransferId": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    "Checks": _object(
        {"checks": {"type": "object", "additionalProperties": {"type": "string"}}},
    ),
}

HEADERS: Json = {
    "ETag": {
        "description": "The ETag is strong, and changes whenever the bytes may have changed.",
        "schema": _TEXT,
    },
    "LastModified": {"schema": _TEXT},
    "AcceptRanges": {"schema": {"const": "bytes"}},
    "ContentRange": {"schema": _TEXT},
    "ContentDisposition": {"schema": _TEXT},
    "Location": {
        "description": "This is the path of the URL that shows the file or folder; of an upload by "
        "tus, the one at which it goes on.",
        "schema": _TEXT,
    },
    "NextPage": {
        "description": 'This is the URL of the next page, with rel="next".',
        "schema": _TEXT,
    },
    "Allow": {"description": "These are the methods that the path takes.", "schema": _TEXT},
    "TusVersion": {"schema": {"const": tus.VERSION}},
    "TusExtension": {
        "description": "These are the extensions of tus that the service has.",
        "schema": {"const": ",".join(tus.EXTENSIONS)},
    },
    "TusChecksumAlgorithm": {"schema": {"const": tus.ALGORITHM}},
    "TusMaxSize": {
        "description": "An upload has at most so many bytes; without it, there is no limit.",
        "schema": _TEXT,
    },
    "UploadOffset": {
        "description": "So many bytes of the file are durable.",
        "schema": _TEXT,
    },
    "UploadLength": {"description": "The file has so many bytes.", "schema": _TEXT},
    "UploadDeferLength": {
        "description": "The size of the file is not known yet.",
        "schema": {"const": "1"},
    },
    "UploadMetadata": {
        "description": "This is what the client said when it started the upload.",
        "schema": _TEXT,
    },
    "UploadExpires": {
        "description": "The upload is kept until then; each byte that arrives puts it off.",
        "schema": _TEXT,
    },
    "ContentLocation": {
        "description": "This is the path of the file that the upload has published.",
        "schema": _TEXT,
    },
    "RetryAfter": {"description": "The client should wait for so many seconds.", "schema": _TEXT},
    "Challenge": {"description": "The scheme is Bearer, as RFC 6750 defines it.", "schema": _TEXT},
}


def _in(place: str, name: str, schema: Json, description: str) -> Json:
    parameter = {"in": place, "name": name, "description": description, "schema": schema}
    return {**parameter, "required": True} if place == "path" else parameter


def _condition(section: int) -> str:
    return f"RFC 9110 §13.1.{section} says what this condition means."


_NAMESPACE = ref("schemas", "NamespaceName")

PARAMETERS: Json = {
    "namespace": _in("path", "namespace", _NAMESPACE, "This is the name of the namespace."),
    "name": _in("path", "name", _NAMESPACE, "This is the name of the namespace."),
    "filePath": _in(
        "path",
        "path",
        ref("schemas", "FileName"),
        "This is the path of the file in the namespace: its name, before which stand the names of "
        "the folders that it is in, each followed by a slash that is not percent-encoded. OpenAPI "
        "can only describe one segment.",
    ),
    "inNamespace": _in(
        "query",
        "namespace",
        _NAMESPACE,
        "This is the name of the namespace; without it, 'default' is listed.",
    ),
    "ofNamespace": {
        **_in("query", "namespace", _NAMESPACE, "This is the name of the namespace."),
        "required": True,
    },
    "changesIn": _in(
        "query",
        "folder",
        _TEXT,
        "What changes right in this folder is shown, at the top where it is empty; without it, "
        "what changes at all depths.",
    ),
    "lastEvent": _in(
        "header",
        "Last-Event-ID",
        _TEXT,
        "The client had a stream before: this one starts with a Change of 'many'.",
    ),
    "inFolder": _in(
        "query",
        "folder",
        _TEXT,
        "What is right in this folder is listed, at the top where it is empty; without it, the "
        "files at all depths are listed.",
    ),
    "type": _in(
        "query",
        "type",
        {"enum": ["file", "folder"]},
        "The list has only files, or only folders, which a list of one folder alone can have.",
    ),
    "contains": _in(
        "query",
        "contains",
        _TEXT,
        "The list has only entries whose names contain this, in any case and normal form.",
    ),
    "prefix": _in(
        "query", "prefix", _TEXT, "The list has only entries whose names start with this."
    ),
    "after": _in("query", "after", _TEXT, "The list has only what comes after this name."),
    "limit": _in(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        "A page has at most so many entries; without it, the list is not cut into pages.",
    ),
    "depth": _in(
        "header",
        "Depth",
        {"const": "infinity"},
        "A folder is changed with all that is in it, and with nothing less.",
    ),
    "destination": {
        **_in(
            "header",
            "Destination",
            _TEXT,
            "This is the new path below /storage/, or the URL of it, percent-encoded.",
        ),
        "required": True,
    },
    "replacing": _in(
        "header",
        "Overwrite",
        {"enum": ["T", "F"], "default": "T"},
        "With F, nothing is replaced at the Destination.",
    ),
    "archive": _in(
        "query",
        "archive",
        {"const": "zip"},
        "Instead of the index, all that is in the folder is sent as one ZIP file.",
    ),
    "archived": _in(
        "query",
        "name",
        {"type": "array", "items": ref("schemas", "FileName")},
        "Only these entries of the folder are in the ZIP file; folders with all below them.",
    ),
    "uploadId": _in("path", "id", _TEXT, "This is the id of the upload."),
    "path": _in("path", "path", _TEXT, "The path may have slashes in it."),
    "transfer": _in("query", "id", ref("schemas", "TransferId"), "This is the id of the transfer."),
    "watched": _in(
        "header",
        "X-Transfer-Id",
        ref("schemas", "TransferId"),
        "The transfer gets this id, by which it can be watched.",
    ),
    "overwrite": _in("query", "overwrite", _TEXT, "With 'true', the upload may replace a file."),
    "range": _in(
        "header", "Range", _TEXT, "Up to 16 ranges of bytes are sent, as RFC 9110 §14.2 says."
    ),
    "ifMatch": _in("header", "If-Match", _TEXT, _condition(1)),
    "ifNoneMatch": _in("header", "If-None-Match", _TEXT, _condition(2)),
    "ifModifiedSince": _in("header", "If-Modified-Since", _TEXT, _condition(3)),
    "ifUnmodifiedSince": _in("header", "If-Unmodified-Since", _TEXT, _condition(4)),
    "ifRange": _in("header", "If-Range", _TEXT, _condition(5)),
    "fileSize": _in(
        "header",
        "X-File-Size",
        _SIZE,
        "This is the size of the file, where the length of the body does not say it.",
    ),
    "reprDigest": _in(
        "header", "Repr-Digest", _TEXT, "This is the sha-256 of the file, as RFC 9530 writes it."
    ),
    "tusResumable": _in(
        "header", "Tus-Resumable", {"const": tus.VERSION}, "This is the version of tus."
    ),
    "uploadLength": _in(
        "header", "Upload-Length", _SIZE, "This is the size of the file, which may be said later."
    ),
    "uploadDeferLength": _in(
        "header", "Upload-Defer-Length", {"const": "1"}, "The size of the file is said later."
    ),
    "uploadOffset": _in(
        "header", "Upload-Offset", _SIZE, "The bytes belong here in the file, as HEAD says."
    ),
    "uploadMetadata": _in(
        "header",
        "Upload-Metadata",
        _TEXT,
        "This is a list of keys, each with a value in base64; 'relativePath' or 'filename' names "
        "the file in the folder.",
    ),
    "uploadChecksum": _in(
        "header",
        "Upload-Checksum",
        _TEXT,
        "This is 'sha256' and, in base64, the SHA-256 of the body.",
    ),
    "contentDigest": _in(
        "header", "Content-Digest", _TEXT, "This is the sha-256 of the body, as RFC 9530 writes it."
    ),
}

_PROBLEMS = {
    400: "The request is malformed, or contradicts itself; the detail says where.",
    401: "A token is needed, or the one that was sent is not valid.",
    403: "The caller may not do this.",
    404: "There is no such file, folder, namespace or upload, or the caller may not know of it.",
    405: "A folder cannot be made where one, or a file, exists.",
    408: "No byte of the body arrived for too long.",
    409: "A file, folder or namespace of that name exists, or is in the way; or an upload does not "
    "go on at that offset.",
    412: "A precondition of the request is not met, or it is of another version of tus.",
    413: "The body is larger than the service takes, or the folder has too many entries for a ZIP.",
    414: "The target of the request is too long.",
    415: "The body has a Content-Encoding, and bytes are stored as they are sent; a folder is made "
    "without a body; the bytes of an upload by tus have a type of their own.",
    416: "No range of the request starts within the file.",
    417: "The only expectation that can be met is 100-continue.",
    429: "Too many event streams, or too many uploads of the caller, are open.",
    431: "The head of the request is too large.",
    460: "The bytes do not have the checksum that the client announced.",
    500: "The service failed.",
    501: "The request says that its body is a part of a file, in a way other than tus.",
    502: "The Destination is on another host.",
    503: "The store or the database is unavailable.",
    507: "The store, or the disk of the database, is full.",
}
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate", "Challenge"),
    503: ("Retry-After", "RetryAfter"),
    429: ("Retry-After", "RetryAfter"),
}


def _problem(status: int, description: str) -> Json:
    response: Json = {
        "description": description,
        "content": {
            "application/problem+json": {"schema": ref("schemas", "Problem")},
            "text/html": {
                "schema": {
                    "type": "string",
                    "description": "A browser that navigates gets the problem as a page.",
                }
            },
        },
    }
    if status in _PROBLEM_HEADERS:
        name, shared = _PROBLEM_HEADERS[status]
        response["headers"] = {name: ref("headers", shared)}
    return response


RESPONSES: Json = {f"Problem{status}": _problem(status, text) for status, text in _PROBLEMS.items()}

SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A token, or that of a link, may be sent so where no header can be set.",
    },
}

COMPONENTS: Json = {
    "schemas": SCHEMAS,
    "headers": HEADERS,
    "parameters": PARAMETERS,
    "responses": RESPONSES,
    "securitySchemes": SECURITY_SCHEMES,
}
