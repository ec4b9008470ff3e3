"""``/openapi.json``: the HTTP contract as an OpenAPI 3.1 document. Pure.

A new route gets an entry in ``_paths``; what it shares with others is in
:mod:`sfs_server.openapi.parts`. Tests hold the document true: it has the routes that there are, and
every answer that any test of the service gets is one that it describes.
"""

from __future__ import annotations

from sfs_server import __version__
from sfs_server.openapi.parts import COMPONENTS, PARAMETERS, Json, ref

_ALWAYS = "400 401 414 417 431 500 503"
"""What any route that asks who asks may answer."""

_PROBES = "400 414 417 431 500"
_JSON_BODY = "408 413 415"

_ANYBODY: Json = {}
_MAY_SIGN_IN = [_ANYBODY, {"bearer": []}]
_MAY_LINK = [*_MAY_SIGN_IN, {"query": []}]


def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SFS, Simple File Share",
            "version": __version__,
            "summary": "Stores files in namespaces and streams them, of any size, over HTTP.",
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
            "The files of a namespace, sorted by name; a Link to the next page if there is one.",
            _parameters("inNamespace prefix after limit"),
            {"200": _json("The files.", _array("File"), headers={"Link": "NextPage"})},
            "403 404",
        ),
        "/storage/{namespace}/{file}": {
            **_view("viewFile", "The file, shown in the browser where it can be."),
            "post": _upload("createFile", "Stores a new file.", "overwrite", "409 412"),
            "put": _upload(
                "storeFile", "Stores a file; replaces the one that is there.", "", "412"
            ),
            "delete": _operation(
                "deleteFile",
                "Deletes the file.",
                _parameters("namespace file ifMatch ifUnmodifiedSince"),
                {"200": _json("It is gone.", ref("schemas", "Deleted"))},
                "403 404 412 507",
            ),
        },
        "/storage/download/{namespace}/{file}": _view(
            "downloadFile", "The same bytes, saved by the browser."
        ),
        "/storage/namespaces": {
            **_read(
                "listNamespaces",
                "The namespaces that the caller may see, sorted by name; with limit, one page.",
                _parameters("after limit"),
                {"200": _json("Them.", _array("Namespace"), headers={"Link": "NextPage"})},
            ),
            "post": _operation(
                "createNamespace",
                "Makes a namespace, which the caller owns.",
                [],
                {"201": _json("The namespace.", ref("schemas", "Namespace"))},
                f"403 409 507 {_JSON_BODY}",
                body="NewNamespace",
            ),
        },
        "/storage/namespaces/{name}": {
            "put": _operation(
                "updateNamespace",
                "Hides a namespace, or shows it.",
                _parameters("name"),
                {"200": _json("The namespace.", ref("schemas", "Namespace"))},
                f"403 404 507 {_JSON_BODY}",
                body="NamespaceChange",
            ),
            "delete": _operation(
                "deleteNamespace",
                "Deletes a namespace and every file in it.",
                _parameters("name"),
                {"200": _json("It is gone.", ref("schemas", "Alive"))},
                "403 404 507",
            ),
        },
        "/storage/links": {
            "post": _operation(
                "createLink",
                "Makes URLs that open one file, or show one transfer, for a while.",
                [],
                {"201": _json("The URLs.", ref("schemas", "Link"))},
                f"403 404 {_JSON_BODY}",
                body="NewLink",
            )
        },
        **_service_paths(),
    }


def _service_paths() -> Json:
    text = {"text/plain": {"schema": {"type": "string"}}}
    checks = ref("schemas", "Checks")
    events = {"schema": {"type": "string"}, "x-event-data": ref("schemas", "Progress")}
    return {
        "/sse/progress": _read(
            "progress",
            "The events of one transfer, each with a Progress as its data, until it ends.",
            [{**PARAMETERS["transfer"], "required": True}],
            {"200": {"description": "They come.", "content": {"text/event-stream": events}}},
            "429",
        ),
        "/storage/status": _read(
            "status", "The store.", [], {"200": _json("Its size.", ref("schemas", "Status"))}
        ),
        "/api/session": _read(
            "session",
            "Who the caller is.",
            [],
            {"200": _json("The caller.", ref("schemas", "Session"))},
            security=[{"bearer": []}, {"query": []}],
        ),
        "/openapi.json": _read(
            "openapi", "This document.", [], {"200": _json("It.", {"type": "object"})}
        ),
        "/healthz": _probe(
            "healthz",
            "200 while the process lives.",
            {"200": _json("It lives.", ref("schemas", "Alive"))},
        ),
        "/readyz": _probe(
            "readyz",
            "Whether the process takes requests: database, store, and not stopping.",
            {"200": _json("It does.", checks), "503": _json("It does not.", checks)},
        ),
        "/metrics": _probe(
            "metrics",
            "For Prometheus.",
            {"200": {"description": "Its text format.", "content": text}},
        ),
        "/{path}": _read(
            "page",
            "The web page: every path that is none of the others.",
            _parameters("path"),
            {
                "200": {"description": "A file of it.", "content": {"*/*": {}}},
                "304": {"description": "The client has it."},
            },
            "404 412",
        ),
    }


def _view(name: str, summary: str) -> Json:
    """What reads a file."""
    version = {"ETag": "ETag", "Last-Modified": "LastModified", "Accept-Ranges": "AcceptRanges"}
    whole = {**version, "Content-Disposition": "ContentDisposition"}
    part = {**whole, "Content-Range": "ContentRange"}
    conditions = "ifMatch ifNoneMatch ifModifiedSince ifUnmodifiedSince ifRange"
    return _read(
        name,
        summary,
        _parameters(f"namespace file transfer watched range {conditions}"),
        {
            "200": {"description": "The file.", "headers": _headers(whole), "content": {"*/*": {}}},
            "206": {
                "description": "Parts of it; several as multipart/byteranges.",
                "headers": _headers(part),
                "content": {"*/*": {}},
            },
            "304": {
                "description": "The version that the client has.",
                "headers": _headers(version),
            },
        },
        "403 404 412 416",
    )


def _upload(name: str, summary: str, query: str, problems: str) -> Json:
    conditions = "ifMatch ifNoneMatch ifUnmodifiedSince"
    stored = ref("schemas", "Stored")
    headers = {"ETag": "ETag", "Location": "Location"}
    form = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]}
    operation = _operation(
        name,
        summary,
        _parameters(
            f"namespace file {query} transfer watched {conditions} "
            "fileSize reprDigest contentDigest"
        ),
        {
            "200": _json("It replaces the one that was there.", stored, headers=headers),
            "201": _json("It is new.", stored, headers=headers),
        },
        f"403 404 {_JSON_BODY} 501 507 {problems}",
    )
    operation["requestBody"] = {
        "description": "The bytes; of a form, those of its first part named 'file'.",
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
    answers: Json,
    problems: str = "",
    *,
    always: str = _ALWAYS,
    security: list[Json] = _MAY_LINK,
) -> Json:
    """GET, and the HEAD that answers the same without a body."""
    get = _operation(name, summary, parameters, answers, problems, always=always, security=security)
    bodiless = {
        status: {name: part for name, part in answer.items() if name != "content"}
        for status, answer in answers.items()
    }
    head = {
        **get,
        "operationId": f"{name}Head",
        "summary": f"{summary} The headers alone.",
        "responses": {**get["responses"], **bodiless},
    }
    return {"get": get, "head": head}


def _probe(name: str, summary: str, answers: Json) -> Json:
    """What a machine asks, and nobody asks who."""
    return _read(name, summary, [], answers, always=_PROBES, security=[_ANYBODY])


def _operation(
    name: str,
    summary: str,
    parameters: list[Json],
    answers: Json,
    problems: str = "",
    *,
    always: str = _ALWAYS,
    security: list[Json] = _MAY_SIGN_IN,
    body: str | None = None,
) -> Json:
    """An operation with the schema ``body`` for its JSON, and ``problems``: their statuses."""
    statuses = f"{problems} {always}".split()
    responses = {status: ref("responses", f"Problem{status}") for status in statuses}
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": dict(sorted({**responses, **answers}.items())),
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
    answer: Json = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        answer["headers"] = _headers(headers)
    return answer
