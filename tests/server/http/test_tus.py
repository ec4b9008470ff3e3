"""The fields of tus: what they say, and what is refused instead of being guessed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from multidict import CIMultiDict

from sfs_server.errors import Problem
from sfs_server.http import tus

Fields = dict[str, str] | list[tuple[str, str]]

VERSION = {"Tus-Resumable": "1.0.0"}
NEW = {**VERSION, "Upload-Length": "9"}
PATCH = {**VERSION, "Upload-Offset": "3", "Content-Type": tus.CONTENT_TYPE}
SHA256 = hashlib.sha256(b"bytes").digest()
BASE64 = base64.b64encode(SHA256).decode()
OTHER = base64.b64encode(hashlib.sha256(b"others").digest()).decode()
SHA1 = base64.b64encode(hashlib.sha1(b"bytes").digest()).decode()


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextmanager
def refused(status: int, message: str) -> Iterator[None]:
    with pytest.raises(Problem, match=message) as caught:
        yield
    assert caught.value.status == status


def creation(headers: Fields) -> tus.Creation:
    return tus.creation(CIMultiDict(headers))


def patch(headers: Fields) -> tus.Patch:
    return tus.patch(CIMultiDict(headers))


@pytest.mark.parametrize("headers", [VERSION, {"tus-resumable": " 1.0.0 "}])
def test_a_version_that_is_spoken(headers: Fields) -> None:
    fields = CIMultiDict(headers)
    tus.require_version(fields)
    assert tus.requested(fields)


@pytest.mark.parametrize(
    "headers",
    [
        *({"Tus-Resumable": said} for said in ("", "1", "0.2.2", "1.0.1", "1.0.0, 1.0.0")),
        {},
        [("Tus-Resumable", "1.0.0")] * 2,
    ],
)
def test_another_version_is_refused_with_the_one_that_is_spoken(headers: Fields) -> None:
    with pytest.raises(Problem) as caught:
        tus.require_version(CIMultiDict(headers))
    assert caught.value.status == 412
    assert caught.value.headers == {"Tus-Version": "1.0.0"}


@pytest.mark.parametrize(
    "field", ["Upload-Complete", "Upload-Incomplete", "upload-draft-interop-version"]
)
@pytest.mark.parametrize("headers", [{}, NEW])
def test_the_draft_of_the_ietf_is_not_taken_for_tus(field: str, headers: dict[str, str]) -> None:
    with pytest.raises(Problem, match=r"tus 1\.0\.0") as caught:
        tus.require_version(CIMultiDict({**headers, field: "?1"}))
    assert caught.value.status == 501


def test_what_a_creation_says() -> None:
    raw = f"filename {coded('é.txt')},flag, empty ,filetype  {coded('a/b')}".replace("  ", " ")
    said = {
        **NEW,
        "Upload-Metadata": raw,
        "Upload-Checksum": f"sha256 {BASE64}",
        "Repr-Digest": f"sha-256=:{OTHER}:",
        "Content-Length": "5",
        "Content-Type": tus.CONTENT_TYPE,
    }
    assert creation(said) == tus.Creation(
        9,
        False,
        {"filename": "é.txt", "flag": "", "empty": "", "filetype": "a/b"},
        raw,
        SHA256,
        base64.b64decode(OTHER),
    )
    assert creation({**VERSION, "Upload-Defer-Length": "1"}) == tus.Creation(
        None, True, {}, "", None, None
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "0"},
        {"Content-Length": "000"},
        {"Content-Type": "application/json"},
        {"Content-Length": "5", "Content-Type": "Application/Offset+Octet-Stream ; a=b"},
        {"Upload-Metadata": ""},
        {"Upload-Metadata": " "},
    ],
)
def test_a_creation_may_have_no_body_and_no_metadata(headers: dict[str, str]) -> None:
    assert creation({**NEW, **headers}).metadata == {}


@pytest.mark.parametrize("field", ["Upload-Length", "Upload-Offset"])
@pytest.mark.parametrize("number", ["0", "1", "007", str(2**63 - 1)])
def test_numbers_that_are_sizes(field: str, number: str) -> None:
    found = patch({**PATCH, field: number})
    assert int(number) in (found.length, found.offset)


@pytest.mark.parametrize("field", ["Upload-Length", "Upload-Offset"])
@pytest.mark.parametrize(
    "number",
    ["", "-1", "+1", "1.0", "1e3", "0x1", "1_0", "1 0", "²", "\u0661", str(2**63), "1" * 20],
)
def test_what_is_no_size_is_refused(field: str, number: str) -> None:
    with refused(400, field):
        patch({**PATCH, field: number})


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        (VERSION, 400, "Upload-Length"),
        ({**NEW, "Upload-Defer-Length": "1"}, 400, "not both"),
        *(
            ({**VERSION, "Upload-Defer-Length": said}, 400, "is 1")
            for said in ("", "0", "2", "01", "true")
        ),
        ([*NEW.items(), ("Upload-Length", "9")], 400, "twice"),
        ({**NEW, "Upload-Concat": "partial"}, 501, "as one"),
        ({**NEW, "Content-Length": "10"}, 415, tus.CONTENT_TYPE.replace("+", r"\+")),
        ({**NEW, "Transfer-Encoding": "chunked"}, 415, "octet-stream"),
        ({**NEW, "Content-Length": "1", "Content-Type": "text/plain"}, 415, "octet-stream"),
        ({**NEW, "Trailer": "X-A, upload-checksum"}, 400, "upload-checksum"),
        ({**NEW, "Repr-Digest": "garbage"}, 400, "Repr-Digest"),
        ({"Upload-Length": "9"}, 412, "1.0.0"),
    ],
)
def test_a_creation_that_is_refused(headers: Fields, status: int, message: str) -> None:
    with refused(status, message):
        creation(headers)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        *((raw, "list of pairs") for raw in (",", "a,", ",a", "a,,b", "a QQ== x", "a  QQ==")),
        *((raw, "list of pairs") for raw in ("é QQ==", "a=b\x7f", "a Q*==", "a Q Q==", "a QQ===")),
        *((raw, "list of pairs") for raw in ("a\tQQ==", "a QQ_-", "a QQ==QQ==")),
        *((f"a {value}", "not UTF-8 in base64") for value in ("Q", "QQ", "QQQ", "QQ=", "/w==")),
        ("a QQ==,b,a Qg==", "twice"),
        ("a,a", "twice"),
        (",".join(f"k{n}" for n in range(tus.MAX_METADATA_PAIRS + 1)), "send less"),
        ("a " + "QUJD" * (tus.MAX_METADATA_CHARACTERS // 4), "send less"),
    ],
)
def test_metadata_that_is_refused(raw: str, message: str) -> None:
    with refused(400, message):
        creation({**NEW, "Upload-Metadata": raw})


def test_metadata_up_to_the_limits() -> None:
    most = ",".join(f"k{n}" for n in range(tus.MAX_METADATA_PAIRS))
    assert len(creation({**NEW, "Upload-Metadata": most}).metadata) == tus.MAX_METADATA_PAIRS
    long = "abc " + "QUJD" * (tus.MAX_METADATA_CHARACTERS // 4 - 1)
    assert len(long) == tus.MAX_METADATA_CHARACTERS
    assert creation({**NEW, "Upload-Metadata": long}).raw == long


def test_metadata_in_several_lines_are_one_list() -> None:
    lines = [("Upload-Metadata", f"a {coded('1')}"), ("Upload-Metadata", f"b {coded('2')}")]
    assert creation([*NEW.items(), *lines]).metadata == {"a": "1", "b": "2"}


def test_what_a_patch_says() -> None:
    assert patch(PATCH) == tus.Patch(3, None, None)
    assert patch({**PATCH, "Upload-Length": "9"}) == tus.Patch(3, 9, None)
    of_the_file = {"Repr-Digest": f"sha-256=:{OTHER}:"}
    assert patch({**PATCH, **of_the_file}) == tus.Patch(3, None, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Checksum": f"sha256 {BASE64}"},
        {"Content-Digest": f"sha-256=:{BASE64}:"},
        {"Upload-Checksum": f"sha256 {BASE64}", "Repr-Digest": f"sha-256=:{OTHER}:"},
        {"Upload-Checksum": f"sha256 {BASE64}", "Content-Digest": f"sha-256=:{BASE64}:"},
        {"Upload-Checksum": f"sha256 {BASE64}", "Content-Digest": f"sha-512=:{OTHER}:"},
    ],
)
def test_the_checksum_of_a_body(headers: dict[str, str]) -> None:
    assert patch({**PATCH, **headers}).checksum == SHA256


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        *(
            ({"Upload-Checksum": said}, "sha256")
            for said in (
                *("", "sha256", "sha256 ", "sha256 *", f"sha256  {BASE64}", "sha256 é"),
                *(f"sha1 {SHA1}", f"sha256 {SHA1}", f"SHA256 {BASE64}", f"sha256 {BASE64[:-1]}"),
                *(f"sha256 {BASE64} {BASE64}", f"sha256={BASE64}", BASE64),
            )
        ),
        ({"Upload-Checksum": f"sha256 {OTHER}", "Content-Digest": f"sha-256=:{BASE64}:"}, "differ"),
        ({"Content-Digest": "garbage"}, "Content-Digest"),
        ({"Trailer": "Upload-Checksum"}, "not verified"),
        ({"Content-Range": "bytes 3-8/9"}, "without Content-Range"),
    ],
)
def test_a_patch_that_says_what_cannot_be_is_refused(headers: dict[str, str], message: str) -> None:
    with refused(400, message):
        patch({**PATCH, **headers})


@pytest.mark.parametrize(
    ("left_out", "status"),
    [("Upload-Offset", 400), ("Content-Type", 415), ("Tus-Resumable", 412)],
)
def test_a_patch_without_what_it_needs_is_refused(left_out: str, status: int) -> None:
    with refused(status, left_out):
        patch({field: said for field, said in PATCH.items() if field != left_out})


def test_a_patch_that_is_coded_is_refused() -> None:
    with refused(415, "Content-Encoding"):
        patch({**PATCH, "Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"filename": "a b"}, "a b"),
        ({"filename": "a", "relativePath": "b/c/d"}, "b/c/d"),
        ({"relativePath": "é"}, "é"),
        *(({"filename": "a", "relativePath": none}, "a") for none in ("", "null", "undefined")),
    ],
)
def test_the_path_of_a_file(metadata: dict[str, str], path: str) -> None:
    assert tus.relative_path(metadata) == path


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "Name the file"),
        ({"name": "a", "filename": ""}, "Name the file"),
        ({"relativePath": "null"}, "Name the file"),
        *(
            ({"filename": name}, "The filename of")
            for name in ("a/b", "/a", "..", "a\n", " ", "\\")
        ),
        *(
            ({"filename": "a", "relativePath": path}, "The relativePath of")
            for path in (
                "/a",
                "../a",
                "a/../b",
                "a//b",
                "a/",
                "/",
                "a/./b",
                "a/ b",
                "a/" * 32 + "b",
            )
        ),
    ],
)
def test_a_path_that_is_refused(metadata: dict[str, str], message: str) -> None:
    with refused(400, message):
        tus.relative_path(metadata)


def test_what_the_service_can_do() -> None:
    said = tus.capabilities(0)
    assert said["Tus-Version"] == said["Tus-Resumable"] == "1.0.0"
    assert said["Tus-Checksum-Algorithm"] == "sha256"
    assert "creation-defer-length" in said["Tus-Extension"].split(",")
    assert "Tus-Max-Size" not in said
    assert tus.capabilities(10) == {**said, "Tus-Max-Size": "10"}


def test_the_status_of_a_mismatch_has_a_phrase() -> None:
    problem = tus.checksum_mismatch()
    assert (problem.status, problem.title) == (460, "Checksum Mismatch")
