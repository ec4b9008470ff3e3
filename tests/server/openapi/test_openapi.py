"""``/openapi.json`` is true: it is OpenAPI, and has the routes that there are. That it has their
answers is looked at wherever a test asks the ``service``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from sfs_server.errors import Problem
from sfs_server.openapi.contract import document
from sfs_server.routes import add_routes
from tests.support.client import call
from tests.support.service import Service

DOCUMENT = json.loads(json.dumps(document()))


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in (item | item.get("x-additionalOperations", {})).items():
            if not method.startswith("x-"):
                yield method.upper(), path, operation


def test_it_is_openapi() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)


def test_the_routes_are_those_that_there_are() -> None:
    app = web.Application()
    add_routes(app)
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    assert {(method, path) for method, path, _ in operations()} == served


def test_every_error_is_a_problem_and_every_part_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            used = f'"#/components/{kind}/{name}"' in text or kind == "securitySchemes"
            assert used, (kind, name)
    for method, path, operation in operations():
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and (path, status) != ("/readyz", "503"):
                assert answer == {"$ref": f"#/components/responses/Problem{status}"}, (method, path)
    problem = DOCUMENT["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == set(Problem(404, "gone").document())


def descriptions(part: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, inner in part.items():
            if name in ("summary", "description") and isinstance(inner, str):
                yield place, inner
            yield from descriptions(inner, f"{place}/{name}")
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            yield from descriptions(inner, f"{place}/{number}")


def test_every_description_is_a_sentence_in_the_words_of_the_glossary() -> None:
    others = re.compile(
        r"\b(answer|begin|began|begun|tell|told|anybody|whoever|beside)", re.IGNORECASE
    )
    found = list(descriptions(DOCUMENT))
    assert len(found) > 100
    for place, text in found:
        assert re.fullmatch(r"[A-Z].*[^.]\.", text), f"{place}: {text}"
        assert len(text.split()) > 2, f"{place}: {text}"
        assert not others.search(text), f"{place}: {text}"


def test_a_credential_in_the_url_is_for_reading() -> None:
    for method, path, operation in operations():
        schemes = {name for choice in operation["security"] for name in choice}
        assert ("query" in schemes) <= (method in ("GET", "HEAD")), (method, path)
        assert ({} in operation["security"]) == (path != "/api/session"), (method, path)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_is_served(service: Service, method: str) -> None:
    answer = await call(service.port, method, "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    if method == "GET":
        assert answer.json() == DOCUMENT
