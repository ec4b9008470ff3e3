"""The pages are true: what they name as code is there, under that name.

Looked at is what stands in code spans and code blocks, and where links lead. A flag that stands
alone is one of ours; a flag of another program stands behind the name of that program. Whether the
sentences around the names are true is for reviewers; who renames a thing is led to them from here.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from aiohttp import web

from sfs_server.config import FLAGS, VARIABLES
from sfs_server.routes import add_routes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = r"(?:gfs|sfs_server|tests|bench|manifests|docs|tools|\.ci|\.github)"

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def code(page: Path) -> Iterator[str]:
    """The code of a page, line by line and span by span; without comments of the shell."""
    text = page.read_text()
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"(?:^|\s)# .*", "", line).strip()
    for span in _SPAN.findall(_FENCE.sub("", text)):
        yield " ".join(span.split())


CODE = [(page.relative_to(ROOT), line) for page in PAGES for line in code(page)]


def named(pattern: str) -> list[tuple[Path, re.Match[str]]]:
    """Where the pages have code that matches; there is some."""
    found = [(page, match) for page, line in CODE for match in re.finditer(pattern, line)]
    assert found
    return found


@cache
def sources(*rooms: str) -> str:
    """All that is written in some rooms, and beside them."""
    kinds = {".py", ".sql", ".lua", ".conf", ".yaml", ".toml", ".ini"}
    paths = [path for room in rooms for path in (ROOT / room).rglob("*.*")]
    paths += [ROOT / name for name in ("schema.sql", "tox.ini", "pyproject.toml")]
    return "\n".join(path.read_text() for path in paths if path.suffix in kinds)


PRODUCT = ("gfs", "sfs_server", "bench", "manifests")
"""A name that is left only where it is used, in tests, is not there any more."""


def arguments(program: str) -> set[str]:
    """The flags that a module gives to its parser by themselves, without dashes."""
    text = (ROOT / program).read_text()
    found = re.findall(r'(?:add_argument\(\s*"-|\.flag\(\s*")([\w-]+)"', text)
    return {flag.strip("-") for flag in found}


OURS = {flag.name for flag in FLAGS} | arguments("sfs_server/cli.py") | {"help"}
BENCH = arguments("bench/__main__.py")
LAPTOP = arguments("manifests/laptop/__main__.py") | arguments("manifests/gateway/__main__.py")
MEASURES = set(
    re.findall(r'^    "([a-z-]+)": \w+\.measure', (ROOT / "bench/__main__.py").read_text(), re.M)
)


def is_flag(word: str, known: set[str]) -> bool:
    """Whether a word is one of the flags; ``-gfs-tls-*`` are several."""
    name = word.lstrip("-").partition("=")[0]
    if name.endswith("*"):
        return any(flag.startswith(name[:-1]) for flag in known)
    return name in known


def flags_of(words: list[str]) -> list[str]:
    """The flags of one command: those before whatever comes behind it in the shell."""
    found = []
    for word in words:
        if word in {"|", "&", "&&", ";", ">"}:
            break
        if word.startswith("-"):
            found.append(word.rstrip(')";'))
    return found


def test_links_lead_somewhere() -> None:
    seen, wrong = 0, []
    for page in PAGES:
        for target in _LINK.findall(_SPAN.sub("", _FENCE.sub("", page.read_text()))):
            if target.startswith(("https://", "http://")):
                continue
            seen += 1
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            there = path.is_relative_to(ROOT) and path.exists()
            if not there or (anchor and anchor not in anchors(path)):
                wrong.append((page.name, target))
    assert seen > 10
    assert wrong == []


def anchors(page: Path) -> set[str]:
    """What can stand behind ``#`` for the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    """Response, start, notify, everyone: not a dialect of our own."""
    others = (
        r"\b(?:answer(?:s|ed)?|beg[aiu]ns?|tells?|told|(?:any|every)body|who(?:m|ever)|beside)\b"
    )
    text = _SPAN.sub("", _FENCE.sub("", page.read_text()))
    assert re.findall(others, text, re.IGNORECASE) == []


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.parent != ROOT])
def test_the_readme_leads_to_every_page(page: str) -> None:
    assert f"](docs/{page})" in PAGES[0].read_text()


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page, found in named(r"^(?:\$ )?make .*"):
        for word in shlex.split(found[0].removeprefix("$ "))[1:]:
            name, is_variable, value = word.partition("=")
            pattern = rf"\b{name}\b" if is_variable else rf"^{name}:"
            assert re.search(pattern, makefile, re.MULTILINE), f"{page}: {found[0]}"
            if name == "ARGS":
                assert_arguments(found[0], value.split(), f"{page}: {found[0]}")


def assert_arguments(command: str, words: list[str], where: str) -> None:
    """That the target of make takes these ARGS."""
    if " bench" in command:
        assert_bench(words, where)
    else:
        known = LAPTOP if " cluster" in command else OURS
        assert all(is_flag(word, known) for word in flags_of(words)), where


def assert_bench(words: list[str], where: str) -> None:
    measured = [word for word in words if not word.startswith("-") and "/" not in word]
    assert MEASURES.issuperset(measured), where
    assert all(is_flag(word, BENCH) for word in flags_of(words)), where


def test_measurements_are_there_and_each_is_described() -> None:
    for page, found in named(r"python -m bench(.*)"):
        assert_bench(found[1].split(), f"{page}: {found[0]}")
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/measure.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(MEASURES)


def test_environments_of_tox_are_there() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "tox.ini")
    written = [section.removeprefix("testenv:") for section in settings.sections()]
    written += re.findall(r"[\w-]+(?:\{[^}]*\})?", settings["tox"]["env_list"])
    known = {
        name + ending
        for name, _, endings in (one.rstrip("}").partition("{") for one in written)
        for ending in endings.split(",")
    }
    for page, found in named(r"\btox\b.* -e ([\w,]+)"):
        assert known.issuperset(found[1].split(",")), f"{page}: {found[0]}"


def test_modules_that_are_run_are_there() -> None:
    for page, found in named(rf"python3? -m ({ROOMS}[\w.]*)"):
        path = ROOT / found[1].replace(".", "/")
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), f"{page}"


@pytest.mark.parametrize(
    ("command", "known"),
    [
        (r"(?:sfs-server|python -m sfs_server)(?: (.*))?$", OURS),
        (r"^(--?[a-z].*)$", OURS | BENCH | LAPTOP),
    ],
)
def test_flags_are_there(command: str, known: set[str]) -> None:
    for page, found in named(command):
        words = (found[1] or "").split()
        for word in flags_of(words[:1] if command.startswith("^") else words):
            assert is_flag(word, known), f"{page}: {found[0]}"


def test_the_bounds_that_are_flags_have_their_defaults() -> None:
    rows = re.findall(
        r"^\|[^|]+\|[^|]+\| ([^|]+) \| `-([\w-]+)` \|",
        (ROOT / "docs/security.md").read_text(),
        re.MULTILINE,
    )
    defaults = {flag.name: flag.default for flag in FLAGS}
    assert len(rows) > 5
    for said, name in rows:
        default = "no limit" if defaults[name] == "0" else defaults[name]
        assert re.match(rf"{default}\b", said), f"-{name}: {said}"


def test_subcommands_are_there() -> None:
    known = re.findall(r'== \["(\w+)"\]', (ROOT / "sfs_server/__main__.py").read_text())
    for page, found in named(r"(?:^|/|-- )sfs-server ([a-z]\w*)"):
        assert found[1] in known, f"{page}: {found[0]}"


def test_variables_of_the_environment_are_there() -> None:
    read = re.findall(r"environ(?:\.get\(|\[)\"(SFS_[A-Z_]+)\"", sources(*PRODUCT, "tests"))
    known = VARIABLES | set(read)
    for page, found in named(r"\bSFS_[A-Z][A-Z_]*\b"):
        assert found[0] in known, f"{page}: {found[0]}"


def test_routes_are_there() -> None:
    app = web.Application()
    add_routes(app)
    routes = [
        (route.method, route.resource.canonical, route.resource.get_info())
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical != "/{path}"
    ]
    pattern = r"(?:\b(GET|HEAD|POST|PUT|DELETE) )?(?:https?://[^/\s]+|\$\w+|(?<![\w.}])|(?<=\{\}))"
    pattern += r"(/(?:storage|sse|api|healthz|readyz|metrics|openapi\.json)\b[^\s\"'|)?#;]*)"
    for page, found in named(pattern):
        method, path = found[1], found[2].rstrip(".,…*")
        matching = {
            verb
            for verb, canonical, info in routes
            if path in (canonical, info.get("path"))
            or ("pattern" in info and info["pattern"].fullmatch(path + "x" * path.endswith("/")))
            or canonical.startswith(path.rstrip("/") + "/")
        }
        assert method in matching if method else matching, f"{page}: {found[0]}"


def test_metrics_are_there() -> None:
    """That docs/metrics.md has those that there are is for tests/server/test_metrics.py."""
    table = (ROOT / "docs/metrics.md").read_text()
    known = set(re.findall(r"^\| `(sfs_\w+)` \|", table, re.MULTILINE))
    others = [ROOT / "schema.sql", *(ROOT / "manifests/gateway").glob("*.*")]
    for other in others:
        known |= set(re.findall(r"\bsfs_\w+", other.read_text()))
    known |= set(re.findall(r'^CHANNEL = "(\w+)"', sources(*PRODUCT), re.MULTILINE))
    for page, found in named(r"\b(sfs_(?!server\b)[a-z_]+)(\*?)(?![\w./])"):
        name = re.sub(r"(?<=_seconds)_(?:bucket|count|sum)$", "", found[1])
        there = any(one.startswith(name) for one in known) if found[2] else name in known
        assert there, f"{page}: {found[0]}"


def test_loggers_are_there() -> None:
    for page, found in named(r"(?<![\w/-])sfs\.(?!service\b)[a-z]+\b"):
        assert f'"{found[0]}"' in sources("sfs_server"), f"{page}: {found[0]}"


def test_alerts_are_there_and_each_is_explained() -> None:
    rules = (ROOT / "manifests/monitoring/alerts.yaml").read_text()
    known = set(re.findall(r"- alert: (\w+)", rules))
    for page, found in named(r"\bSfs[A-Z]\w+"):
        assert found[0] in known, f"{page}: {found[0]}"
    operate = (ROOT / "docs/operate.md").read_text()
    assert set(re.findall(r"^\| `(Sfs\w+)` \|", operate, re.MULTILINE)) == known


def test_files_are_there() -> None:
    for page, found in named(rf"(?<![\w/$.~}}-]){ROOMS}/(?:[\w.*-]+/?)*"):
        assert any(ROOT.glob(found[0].rstrip("./"))), f"{page}: {found[0]}"
    names = {path.name for room in ("gfs", "sfs_server", "tests", "bench", "manifests", "tools")
             for path in (ROOT / room).rglob("*.*")}  # fmt: skip
    names |= {path.name for path in ROOT.iterdir()}
    for page, found in named(r"(?<![\w*/.-])[\w-]+\.(?:py|sql|lua)\b"):
        assert found[0] in names, f"{page}: {found[0]}"


def test_modules_and_what_is_in_them_are_there() -> None:
    for page, found in named(r"(?<![\w./-])(?:gfs|sfs_server|bench)(?:\.[A-Za-z_]\w*)+(?!\w*[(/])"):
        path, *rest = found[0].split(".")
        while rest and (ROOT / path / rest[0]).is_dir():
            path += f"/{rest.pop(0)}"
        if rest and (ROOT / path / f"{rest[0]}.py").exists():
            text = (ROOT / path / f"{rest.pop(0)}.py").read_text()
            assert all(re.search(rf"\b{name}\b", text) for name in rest), f"{page}: {found[0]}"
        else:
            assert not rest, f"{page}: {found[0]}"


def test_constants_are_there() -> None:
    for page, found in named(r"(?<![\w.$-])(?!SFS_|WEED_)[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b"):
        assert re.search(rf"\b{found[0]}\b", sources(*PRODUCT)), f"{page}: {found[0]}"


def test_dependencies_are_those_that_are_described() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    text = (ROOT / "docs/dependencies.md").read_text()
    groups = {"runtime": project["dependencies"], **project["optional-dependencies"]}
    for group, needed in groups.items():
        _, found, section = text.partition(f"\n## {group}\n")
        assert found, group
        rows = re.findall(r"^\| `([^`]+)` \|", section.partition("\n## ")[0], re.MULTILINE)
        assert sorted(rows) == sorted(needed), group
    files = ("Makefile", "tox.ini", "tools/vendor", ".pre-commit-config.yaml")
    tools = "".join((ROOT / name).read_text() for name in files)
    pins = set(re.findall(r"[\w-]+>=[\d.]+,<[\d.]+|\w+@[\d.]+", tools))
    for directory in (".", "bench/tus", "tests/clients/tus/programs"):
        package = json.loads((ROOT / directory / "package.json").read_text())
        packages = package.get("dependencies", {}) | package.get("devDependencies", {})
        pins |= {f"{name}@{versions}" for name, versions in packages.items()}
    rows = re.findall(r"`(@?[\w/-]+(?:>=|@)[^`]+)`", text.partition("\n## tools\n")[2])
    assert sorted(rows) == sorted(pins)
