"""Which of two media types a client would rather have."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from sfs_server.http import wants_json

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([], False),
        ([""], False),
        (["*/*"], False),
        (["image/png"], False),
        ([BROWSER], False),
        ([PIP], False),
        (["application/json"], True),
        (["APPLICATION/JSON;charset=utf-8"], True),
        (["application/json, text/plain, */*"], True),
        (["application/*"], True),
        (["application/json;q=0"], False),
        (["application/json;q=x"], False),
        (["application/json;q=0, */*"], False),
        (["application/json;q=0.5, text/html"], False),
        (["application/json, text/html;q=0.5"], True),
        (["*/*, application/json;q=0.1"], False),
        (["*/*;q=0.1, application/json;q=0.2"], True),
        (["application/json, text/html"], True),
        (["text/html, application/json"], False),
        (["text/*, application/json"], True),
        (["text/html", "application/json"], False),
        (["text/html;q=0.5", "application/json"], True),
    ],
)
def test_json_is_sent_to_who_would_rather_have_it(fields: list[str], wanted: bool) -> None:
    assert wants_json(CIMultiDict([("Accept", field) for field in fields])) is wanted
