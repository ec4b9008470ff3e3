"""``/openapi.json``: the HTTP contract as an OpenAPI 3.1 document. Pure.

A new route gets an entry in ``_paths``; what it shares with others is in
:mod:`sfs_server.openapi.parts`. Tests hold the document true: it has the routes that there are, and
every response that any test of the service gets is one that it describes.

OpenAPI 3.1 has no word for the methods of WebDAV. They stand in ``x-additionalOperations``, as they
do without the ``x-`` in OpenAPI 3.2.
"""

from __future__ import annotations

from sfs_server import __version__
from sfs_server.http import tus
from sfs_server.openapi.parts import COMPONENTS, PARAMETERS, Json, ref

_ALWAYS = "400 401 414 417 431 500 503"
"""The error statuses of every route that looks at credentials."""

_PROBES = "400 414 417 431 500"
"""The error statuses of the routes that do not: those for load balancers and Prometheus."""

_JSON_BODY = "408 413 415"
"""The error statuses of every route that reads a body."""

_CREATION = "tusResumable uploadLength uploadDeferLength uploadMetadata uploadChecksum"
"""What the request that starts an upload by tus says."""

_TUS = {
    "Tus-Resumable": "TusVersion",
    "Upload-Offset": "UploadOffset",
    "Upload-Expires": "UploadExpires",
    "ETag": "ETag",
    "Content-Location": "ContentLocation",
}
"""The header fields of a response about an upload by tus."""

_ANYONE: Json = {}
_MAY_SIGN_IN = [_ANYONE, {"bearer": []}]
_MAY_LINK = [*_MAY_SIGN_IN, {"query": []}]


def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SFS, Simple File Share",
            "version": __version__,
            "summary": "SFS keeps files in namespaces, and streams files of any size over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": COMPONENTS,
    }


def _paths() -> Json:
    return {
        "/storage/files": _read(
            "listFiles",
            "Lists the files of a namespace, or what is in one of its folders, sorted by name.",
            _parameters("inNamespace inFolder type contains prefix after limit"),
            {"200": _json("These are the entries.", _array("Entry"), headers={"Link": "NextPage"})},
            "403 404",
        ),
        "/storage/{namespace}/{path}": {
            **_view("viewFile", "Sends a file, to be shown in the browser where it can be."),
            "post": _by_tus(
                _upload(
                    "createFile",
                    "Uploads a file, or starts to by tus; it replaces another one only with "
                    "overwrite=true.",
                    f"overwrite {_CREATION}",
                    "409 412 429 460",
                )
            ),
            "put": _upload(
                "storeFile", "Uploads a file, and replaces the one of that name.", "", "409 412"
            ),
            **_change("File", "file or folder", "namespace filePath"),
            **_options("File", "namespace filePath"),
        },
        "/storage/{namespace}/": {
            **_index("showTop", "Sends the index of the top folder of a namespace.", "namespace"),
            **_uploads_into("Top", "namespace"),
            **_change("Top", "namespace, which is refused here", "namespace"),
            **_options("Top", "namespace"),
        },
        "/storage/{namespace}/{path}/": {
            **_index("showFolder", "Sends the index of a folder.", "namespace filePath"),
            **_uploads_into("Folder", "namespace filePath"),
            **_change("Folder", "folder and all that is in it", "namespace filePath"),
            **_options("Folder", "namespace filePath"),
        },
        "/storage/download/{namespace}/{path}": _view(
            "downloadFile", "Sends a file, to be saved by the browser."
        ),
        "/storage/namespaces": {
            **_read(
                "listNamespaces",
                "Lists the namespaces that the caller may see, sorted by name.",
                _parameters("after limit"),
                {
                    "200": _json(
                        "These are the namespaces.",
                        _array("Namespace"),
                        headers={"Link": "NextPage"},
                    )
                },
            ),
            "post": _operation(
                "createNamespace",
                "Creates a namespace, which the caller owns.",
                [],
                {"201": _json("The namespace is created.", ref("schemas", "Namespace"))},
                f"403 409 507 {_JSON_BODY}",
                body="NewNamespace",
            ),
        },
        "/storage/namespaces/{name}": {
            "put": _operation(
                "updateNamespace",
                "Hides a namespace from other users, or shows it to them again.",
                _parameters("name"),
                {"200": _json("The namespace is changed.", ref("schemas", "Namespace"))},
                f"403 404 507 {_JSON_BODY}",
                body="NamespaceChange",
            ),
            "delete": _operation(
                "deleteNamespace",
                "Deletes a namespace and every file in it.",
                _parameters("name"),
                {"200": _json("The namespace is deleted.", ref("schemas", "Alive"))},
                "403 404 507",
            ),
        },
        "/storage/links": {
            "post": _operation(
                "createLink",
                "Creates URLs that open a file or folder, or show a transfer, for a limited time.",
                [],
                {"201": _json("The URLs are created.", ref("schemas", "Link"))},
                f"403 404 409 {_JSON_BODY}",
                body="NewLink",
            )
        },
        "/storage/uploads": _options("Uploads", ""),
        "/storage/uploads/{id}": {**_resumable(), **_options("Upload", "uploadId")},
        **_service_paths(),
    }


def _service_paths() -> Json:
    text = {"text/plain": {"schema": {"type": "string"}}}
    checks = ref("schemas", "Checks")
    changes = {"schema": {"type": "string"}, "x-event-data": ref("schemas", "Change")}
    events = {"schema": {"type": "string"}, "x-event-data": ref("schemas", "Progress")}
    return {
        "/sse/changes": _read(
            "changes",
            "Streams what changes in a namespace, or in a folder of it.",
            _parameters("ofNamespace changesIn lastEvent"),
            {
                "200": {
                    "description": "This is a stream of events, each with a Change as its data.",
                    "content": {"text/event-stream": changes},
                }
            },
            "403 404 429",
        ),
        "/sse/progress": _read(
            "progress",
            "Streams the progress of one transfer until the transfer ends.",
            [{**PARAMETERS["transfer"], "required": True}],
            {
                "200": {
                    "description": "This is a stream of events, each with a Progress as its data.",
                    "content": {"text/event-stream": events},
                }
            },
            "429",
        ),
        "/storage/status": _read(
            "status",
            "Describes the store: its engine, servers and size.",
            [],
            {"200": _json("This is the state of the store.", ref("schemas", "Status"))},
        ),
        "/api/session": _read(
            "session",
            "Says who the caller is.",
            [],
            {"200": _json("This is the caller.", ref("schemas", "Session"))},
            security=[{"bearer": []}, {"query": []}],
        ),
        "/openapi.json": _read(
            "openapi",
            "Sends this document.",
            [],
            {"200": _json("This is the document.", {"type": "object"})},
        ),
        "/healthz": _probe(
            "healthz",
            "Says that the process is running.",
            {"200": _json("The process is running.", ref("schemas", "Alive"))},
        ),
        "/readyz": _probe(
            "readyz",
            "Says whether the process takes requests.",
            {
                "200": _json("The database and the store respond.", checks),
                "503": _json("One of them does not respond, or the process is stopping.", checks),
            },
        ),
        "/metrics": _probe(
            "metrics",
            "Sends the metrics of the process to Prometheus.",
            {
                "200": {
                    "description": "These are the metrics in the text format of Prometheus.",
                    "content": text,
                }
            },
        ),
        "/{path}": _read(
            "page",
            "Sends a file of the web page; this route has every path that no other route has.",
            _parameters("path"),
            {
                "200": {"description": "This is the file.", "content": {"*/*": {}}},
                "304": {"description": "The client has this version of the file already."},
            },
            "404 412",
        ),
    }


def _view(name: str, summary: str) -> Json:
    """The operations that read a file."""
    version = {"ETag": "ETag", "Last-Modified": "LastModified", "Accept-Ranges": "AcceptRanges"}
    whole = {**version, "Content-Disposition": "ContentDisposition"}
    part = {**whole, "Content-Range": "ContentRange"}
    conditions = "ifMatch ifNoneMatch ifModifiedSince ifUnmodifiedSince ifRange"
    return _read(
        name,
        summary,
        _parameters(f"namespace filePath transfer watched range {conditions}"),
        {
            "200": {
                "description": "This is the whole file.",
                "headers": _headers(whole),
                "content": {"*/*": {}},
            },
            "206": {
                "description": "These are the ranges; several are a multipart/byteranges.",
                "headers": _headers(part),
                "content": {"*/*": {}},
            },
            "301": {
                "description": "This is a folder: its path ends with a slash.",
                "headers": _headers({"Location": "Location"}),
            },
            "304": {
                "description": "The client has this version of the file already.",
                "headers": _headers(version),
            },
        },
        "403 404 412 416",
    )


def _index(name: str, summary: str, place: str) -> Json:
    """The operations that send the index of a folder."""
    found = _json(
        "These are the entries of the folder.", _array("Entry"), headers={"Link": "NextPage"}
    )
    page = "Without an Accept that asks for JSON, it is a page of relative links."
    found["content"]["text/html"] = {"schema": {"type": "string", "description": page}}
    found["content"]["application/zip"] = {}
    return _read(
        name,
        summary,
        _parameters(f"{place} type contains prefix after limit archive archived transfer watched"),
        {"200": found},
        "403 404 413",
    )


def _change(name: str, what: str, place: str) -> Json:
    """The operations that delete, move and make what is at a path, apart from uploads."""
    conditions = "ifMatch ifNoneMatch ifUnmodifiedSince"
    changed = ref("schemas", "Changed")
    deleted = {"200": _json("It is deleted.", changed)}
    moved = {
        "201": _json("It is moved.", changed, headers={"ETag": "ETag", "Location": "Location"}),
        "204": {
            "description": "It is moved, and replaces what was at the Destination.",
            "headers": _headers({"ETag": "ETag", "Location": "Location"}),
        },
    }
    made = {"201": _json("The folder is made.", changed, headers={"Location": "Location"})}
    return {
        "delete": _operation(
            f"delete{name}",
            f"Deletes a {what}." if name != "File" else "Deletes a file.",
            _parameters(f"{place} depth {conditions}"),
            deleted,
            "403 404 409 412 507",
        ),
        "x-additionalOperations": {
            "MOVE": _operation(
                f"move{name}",
                f"Moves a {what}.",
                _parameters(f"{place} destination replacing depth {conditions}"),
                moved,
                "403 404 409 412 502 507",
            ),
            "MKCOL": _operation(
                f"make{name}",
                "Makes a folder, and those above it that are missing.",
                _parameters(f"{place} {conditions}"),
                made,
                "403 404 405 409 412 415 507",
            ),
        },
    }


def _options(name: str, place: str) -> Json:
    """OPTIONS of a path that takes uploads by tus."""
    headers = {
        "Allow": "Allow",
        "Tus-Resumable": "TusVersion",
        "Tus-Version": "TusVersion",
        "Tus-Extension": "TusExtension",
        "Tus-Checksum-Algorithm": "TusChecksumAlgorithm",
        "Tus-Max-Size": "TusMaxSize",
    }
    return {
        "options": _operation(
            f"options{name}",
            "Says which methods the path takes, and what the service can do of tus.",
            _parameters(place),
            {
                "204": {
                    "description": "The header fields say it.",
                    "headers": _headers(headers),
                }
            },
        )
    }


def _uploads_into(name: str, place: str) -> Json:
    """The uploads to the path of a folder: by tus, which names the file in a header field."""
    conditions = "ifMatch ifNoneMatch ifUnmodifiedSince"
    start = _operation(
        f"post{name}",
        "Starts an upload by tus into the folder; other uploads are refused, as they name no file.",
        _parameters(
            f"{place} overwrite transfer watched {conditions} reprDigest contentDigest {_CREATION}"
        ),
        {"201": {"description": "The upload is started.", "headers": {}}},
        f"403 404 {_JSON_BODY} 409 412 429 460 501 507",
    )
    start["requestBody"] = {"description": "The body is the start of the file.", "content": {}}
    refused = _operation(
        f"put{name}",
        "Refuses to upload a file without a name.",
        _parameters(place),
        {},
        "403 404 501",
    )
    return {"post": _by_tus(start), "put": refused}


def _by_tus(operation: Json) -> Json:
    """``operation``, which can also start an upload by tus."""
    created = operation["responses"]["201"]
    created["headers"] |= _headers({"Location": "Location", **_TUS})
    operation["requestBody"]["content"][tus.CONTENT_TYPE] = {}
    return operation


def _resumable() -> Json:
    """What is done with an upload by tus that was started."""
    sizes = {
        "Upload-Length": "UploadLength",
        "Upload-Defer-Length": "UploadDeferLength",
        "Upload-Metadata": "UploadMetadata",
    }
    common = "uploadId tusResumable"
    patch = _operation(
        "resumeUpload",
        "Adds bytes to an upload, and publishes it with the last one.",
        _parameters(f"{common} uploadOffset uploadLength uploadChecksum contentDigest overwrite"),
        {"204": {"description": "The bytes are durable.", "headers": _headers(_TUS)}},
        f"403 404 {_JSON_BODY} 409 412 429 460 501 507",
    )
    patch["requestBody"] = {
        "description": "The body is bytes of the file.",
        "required": True,
        "content": {tus.CONTENT_TYPE: {}},
    }
    return {
        "head": _operation(
            "findUpload",
            "Says how many bytes of an upload are durable, and ends the request that adds to it.",
            _parameters(common),
            {
                "200": {
                    "description": "The header fields say it.",
                    "headers": _headers({**_TUS, **sizes}),
                }
            },
            "403 404 412 501",
        ),
        "patch": patch,
        "delete": _operation(
            "deleteUpload",
            "Ends an upload, and frees its bytes; a file that it has published stays.",
            _parameters(common),
            {
                "204": {
                    "description": "It is deleted.",
                    "headers": _headers({"Tus-Resumable": "TusVersion"}),
                }
            },
            "403 404 409 412 501 507",
        ),
    }


def _upload(name: str, summary: str, query: str, problems: str) -> Json:
    conditions = "ifMatch ifNoneMatch ifUnmodifiedSince"
    stored = ref("schemas", "Stored")
    headers = {"ETag": "ETag", "Location": "Location"}
    form = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]}
    operation = _operation(
        name,
        summary,
        _parameters(
            f"namespace filePath {query} transfer watched {conditions} "
            "fileSize reprDigest contentDigest"
        ),
        {
            "200": _json("The file replaces another one.", stored, headers=headers),
            "201": _json("The file is new.", stored, headers=headers),
        },
        f"403 404 {_JSON_BODY} 501 507 {problems}",
    )
    operation["requestBody"] = {
        "description": "The body is the file, or a form whose first part named 'file' is the file.",
        "content": {
            "application/octet-stream": {},
            "multipart/form-data": {"schema": form},
        },
    }
    return operation


def _read(
    name: str,
    summary: str,
    parameters: list[Json],
    responses: Json,
    problems: str = "",
    *,
    always: str = _ALWAYS,
    security: list[Json] = _MAY_LINK,
) -> Json:
    """GET, and HEAD, whose response is the same without the body."""
    get = _operation(
        name, summary, parameters, responses, problems, always=always, security=security
    )
    bodiless = {
        status: {name: part for name, part in response.items() if name != "content"}
        for status, response in responses.items()
    }
    head = {
        **get,
        "operationId": f"{name}Head",
        "summary": f"{summary} Only the headers are sent.",
        "responses": {**get["responses"], **bodiless},
    }
    return {"get": get, "head": head}


def _probe(name: str, summary: str, responses: Json) -> Json:
    """A route for load balancers and Prometheus, which looks at no credential."""
    return _read(name, summary, [], responses, always=_PROBES, security=[_ANYONE])


def _operation(
    name: str,
    summary: str,
    parameters: list[Json],
    responses: Json,
    problems: str = "",
    *,
    always: str = _ALWAYS,
    security: list[Json] = _MAY_SIGN_IN,
    body: str | None = None,
) -> Json:
    """An operation whose JSON body has the schema ``body``. ``problems`` and ``always`` are the
    statuses of its errors."""
    statuses = f"{problems} {always}".split()
    refusals = {status: ref("responses", f"Problem{status}") for status in statuses}
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": dict(sorted({**refusals, **responses}.items())),
        "security": security,
    }
    if body is not None:
        content = {"application/json": {"schema": ref("schemas", body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(names: str) -> list[Json]:
    return [ref("parameters", name) for name in names.split()]


def _headers(names: dict[str, str]) -> Json:
    return {name: ref("headers", shared) for name, shared in names.items()}


def _array(schema: str) -> Json:
    return {"type": "array", "items": ref("schemas", schema)}


def _json(description: str, schema: Json, *, headers: dict[str, str] | None = None) -> Json:
    content = {"application/json": {"schema": schema}}
    response: Json = {"description": description, "content": content}
    if headers:
        response["headers"] = _headers(headers)
    return response
