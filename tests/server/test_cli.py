"""The command line: what the flags and the environment mean, and how a start fails."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gfs import clock
from sfs_server import __version__, cli
from sfs_server import app as wiring
from sfs_server.__main__ import _banner
from sfs_server.auth.secret import secret_of
from sfs_server.auth.tokens import InvalidToken, Verifier
from sfs_server.config import FLAGS, Address, Config, ConfigError, make_config
from sfs_server.metrics import Metrics
from sfs_server.postgres.data_directory import sole_user
from sfs_server.web.keys import CONFIG, METRICS
from tests.support.credentials import SECRET
from tests.support.launcher import Process, environment, run

KEY = {"JWT_SECRET": SECRET}

A, B = "postgresql:///a", "postgresql:///b"

A_SITE, TWO_SITES = ("https://a",), ("http://b:1", "https://*.c.d")
A_NET = (ip_network("10.0.0.0/8"),)
TWO_NETS = (ip_network("::1/128"), ip_network("192.0.2.1/32"))

SETTINGS = (
    # Flag, a value, another one, what Config calls it, what these two mean in it.
    ("addr", "127.0.0.1:81", "[::1]:82", "addr", ("127.0.0.1", 81), ("::1", 82)),
    ("addr", ":81", "0.0.0.0:0", "addr", ("", 81), ("0.0.0.0", 0)),
    ("master", "a:1", "seaweedfs://a:1,b:2", "master", "a:1", "a:1,b:2"),
    ("prefix", "/a", "/b/c", "prefix", "/a", "/b/c"),
    ("gfs-tls-ca", "/a", "b", "gfs_tls_ca", "/a", "b"),
    ("gfs-tls-cert", "/a", "b", "gfs_tls_cert", "/a", "b"),
    ("gfs-tls-key", "/a", "b", "gfs_tls_key", "/a", "b"),
    ("static", "/a", "b", "static", "/a", "b"),
    ("data", "/a", "b", "data", "/a", "b"),
    ("database", A, B, "database", A, B),
    ("anonymous", "none", "read", "anonymous_read", False, True),
    ("max-upload-mb", "1", "20", "max_upload_bytes", 1_000_000, 20_000_000),
    ("reserve-mb", "0", "1000", "reserve_bytes", 0, 1_000_000_000),
    ("max-namespaces", "0", "20", "max_namespaces", 0, 20),
    ("upload-idle-timeout", "1", "0.5", "upload_idle_timeout", 1.0, 0.5),
    ("upload-expiry", "90s", "7d", "upload_expiry", 90, 604_800),
    ("upload-buffer-mb", "20", "300", "upload_buffer_bytes", 20_000_000, 300_000_000),
    ("max-streams", "0", "9", "max_streams", 0, 9),
    ("cors-origin", "https://a", "http://b:1, https://*.c.d", "cors_origins", A_SITE, TWO_SITES),
    ("trusted-proxy", "10.0.0.0/8", "::1, 192.0.2.1", "trusted_proxies", A_NET, TWO_NETS),
    ("drain-timeout", "1", "86400", "drain_timeout", 1.0, 86400.0),
    ("drain-grace", "0", "60", "drain_grace", 0.0, 60.0),
    ("log-format", "json", "text", "log_format", "json", "text"),
    ("jwt-public-key", "/a", "b", "jwt_public_key", "/a", "b"),
    ("jwks-url", "http://a/", "http://b/", "jwks_url", "http://a/", "http://b/"),
    ("jwt-issuer", "a", "b", "jwt_issuer", "a", "b"),
    ("jwt-audience", "a", "b", "jwt_audience", "a", "b"),
)


@pytest.mark.parametrize(("flag", "one", "two", "name", "is_one", "is_two"), SETTINGS)
def test_the_flag_wins_over_the_environment_over_the_default(
    flag: str, one: str, two: str, name: str, is_one: object, is_two: object
) -> None:
    variable = "SFS_" + flag.upper().replace("-", "_")

    def value(flags: dict[str, str | None], environ: dict[str, str]) -> object:
        return getattr(make_config(flags, {**KEY, **environ}, terminal=True), name)

    default = getattr(Config(), name)
    assert value({}, {}) == default
    assert value({flag: None}, {variable: ""}) == default
    assert value({}, {variable: one}) == is_one
    assert value({flag: two}, {}) == is_two
    assert value({flag: two}, {variable: one}) == is_two
    assert value({flag: one}, {variable: "garbage of no use"}) == is_one


def test_every_flag_is_tried_above() -> None:
    unparsed = {flag.name for flag in FLAGS} - {setting[0] for setting in SETTINGS}
    assert unparsed == set()


def test_the_database_has_a_second_variable() -> None:
    environ = {**KEY, "DATABASE_URL": "postgresql:///c"}
    assert make_config({}, environ, terminal=True).database == "postgresql:///c"
    environ["SFS_DATABASE"] = "postgresql:///b"
    assert make_config({}, environ, terminal=True).database == "postgresql:///b"
    flags = {"database": "postgresql:///a"}
    assert make_config(flags, environ, terminal=True).database == "postgresql:///a"


def test_the_log_is_json_unless_somebody_looks_at_it() -> None:
    assert make_config({}, {}, terminal=True).log_format == "text"
    assert make_config({}, {}, terminal=False).log_format == "json"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(
            ("addr", text)
            for text in (
                "x",
                "8080",
                "a:",
                ":x",
                ":-1",
                ":65536",
                ":\u0661",
                "a:80 ",
                ":" + "9" * 5000,
            )
        ),
        *(("addr", text) for text in ("[::1:80", "::1]:80", "::1:80", ":80:80", "a..b:80", "ü:80")),
        *(("master", text) for text in ("redis://a:1", "http://a:1", "://a:1")),
        *(("prefix", text) for text in ("a", "/", "//a", "/a/", "/a//b", "/a/../b", "/.")),
        *(("anonymous", text) for text in ("write", "READ", "yes")),
        *(("max-namespaces", text) for text in ("-1", "x")),
        *(("max-upload-mb", text) for text in ("-1", "1.5", "x", "9" * 13, "\u0661", "1e3")),
        *(("upload-idle-timeout", text) for text in ("0", "-1", "x", "nan", "inf", "86401")),
        *(("upload-expiry", text) for text in ("0s", "24", "-1h", "1w", "h", "1.5h", "3651d")),
        *(("upload-buffer-mb", text) for text in ("0", "19", "-1", "x", "20.5")),
        *(("max-streams", text) for text in ("-1", "x", "1.5")),
        *(("cors-origin", text) for text in ("*", "null", "a.example", "https://a/")),
        *(("trusted-proxy", text) for text in ("10.0.0.1/8", "all", "10.0.0.0/33", "a.example")),
        *(("drain-timeout", text) for text in ("0", "-1", "x", "nan", "inf", "30s")),
        *(("drain-grace", text) for text in ("-1", "x", "nan", "61")),
        *(("log-format", text) for text in ("xml", "JSON")),
    ],
)
def test_a_value_that_cannot_be_is_named(flag: str, value: str) -> None:
    variable = "SFS_" + flag.upper().replace("-", "_")
    for flags, environ in (({flag: value}, {}), ({}, {variable: value})):
        with pytest.raises(ConfigError) as caught:
            make_config(flags, environ, terminal=True)
        text = str(caught.value)
        assert text.startswith(f"-{flag} is ")
        assert f"not {value!r}" in text
        assert text.endswith(".")


def test_a_database_of_ones_own_needs_a_key() -> None:
    flags = {"database": "postgresql:///a"}
    with pytest.raises(ConfigError, match="JWT_SECRET") as caught:
        make_config(flags, {"JWT_SECRET": ""}, terminal=True)
    assert "postgresql" not in str(caught.value)
    for more, environ in (
        ({}, KEY),
        ({"jwt-public-key": "file"}, {}),
        ({"jwks-url": "http://a/"}, {}),
    ):
        assert make_config({**flags, **more}, environ, terminal=True).database


def test_secrets_are_not_shown_by_the_config() -> None:
    keys = {"SFS_GFS_JWT_SIGNING_KEY": "to-write", "SFS_GFS_JWT_SIGNING_READ_KEY": "to-read"}
    flags = {"database": "postgresql://sfs:a-password@host/sfs"}
    config = make_config(flags, {**KEY, **keys}, terminal=True)
    assert (config.gfs_write_key, config.gfs_read_key) == ("to-write", "to-read")
    assert config.jwt_secret == SECRET
    secrets = (SECRET, *keys.values(), "a-password")
    assert not any(secret in repr(config) for secret in secrets)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"gfs-tls-ca": "CA"}, "go together"),
        ({"gfs-tls-ca": "CA", "gfs-tls-cert": "CA", "gfs-tls-key": "gone"}, "-gfs-tls-key"),
        ({"gfs-tls-ca": "CA", "gfs-tls-cert": "CA", "gfs-tls-key": "CA"}, "PEM"),
    ],
)
async def test_certificates_that_cannot_be_used_are_named(
    flags: dict[str, str], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "CA").write_text("no certificate")
    paths = {name: str(tmp_path / file) for name, file in flags.items()}
    config = make_config({"master": "127.0.0.1:1", **paths}, {}, terminal=True)
    app = web.Application()
    app[CONFIG] = config
    app[METRICS] = Metrics()
    with pytest.raises(ConfigError, match=problem) as caught:
        await anext(wiring._store(app))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("spelling", [["-data", "x"], ["--data", "x"], ["-data=x"], ["--data=x"]])
def test_one_dash_or_two_and_an_equals_sign(
    spelling: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SFS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SFS_DATA", "y")
    monkeypatch.setenv("SFS_ADDR", ":1")
    config = cli.parse_server(spelling)
    assert (config.data, config.addr.port) == ("x", 1)


def test_a_flag_that_is_repeatable_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFS_CORS_ORIGIN", "https://c")
    given = ["-cors-origin", "https://a", "--cors-origin=https://b, https://*.c.d"]
    assert cli.parse_server(given).cors_origins == ("https://a", "https://b", "https://*.c.d")
    assert cli.parse_server([]).cors_origins == ("https://c",)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["-nonsense"], ["stray"], ["-data"], ["-data", "-addr", ":1"], ["--"], ["-"]),
        # The beginning of a name is no name, also where it is the beginning of one alone.
        *(["-dat", "x"], ["-v"], ["--v"], ["-vers"], ["-he"], ["-maste", "a:1"], ["--maste=a:1"]),
    ],
)
def test_what_is_no_flag_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse_server(arguments)
    assert caught.value.code == 2
    assert "usage: sfs-server" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["-h", "-help", "--help"])
def test_help_names_every_flag(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse_server([spelling])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for flag in FLAGS:
        # Python 3.13 does not repeat the placeholder behind each spelling.
        line = rf"^ +-{flag.name}(, --{flag.name})? {flag.placeholder}\b"
        assert re.search(line, said, re.MULTILINE), flag
    for word in ("SFS_<NAME>", "JWT_SECRET", "DATABASE_URL", "token"):
        assert word in said


def test_a_flag_that_is_misspelt_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    for given, meant in (("-anonymus", "-anonymous"), ("--masters=a:1", "--master")):
        with pytest.raises(SystemExit):
            cli.parse_server([given])
        assert f"(did you mean {meant}?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "own", "used", "unused"),
    [
        (cli.token, ["user", "admin", "ttl"], ["data", "jwt-issuer"], ["addr", "master"]),
        (cli.parse_backup, ["to", "tables"], ["data", "master", "database"], ["addr", "jwks-url"]),
        (cli.parse_restore, ["from"], ["data", "master", "database"], ["addr", "anonymous"]),
    ],
)
def test_the_help_of_a_command_has_its_own_flags_first_and_none_that_it_does_not_use(
    command: Callable[[list[str]], object],
    own: list[str],
    used: list[str],
    unused: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command(["-help"])
    said = re.findall(r"^ +-([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE)
    assert said[: len(own) + 1] == ["help", *own]
    assert set(used) < set(said)
    assert not set(unused) & set(said)


def test_a_command_takes_the_flags_of_the_server_by_their_whole_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    assert cli.parse_backup(["-addr", ":1", "-to", "x", "-anonymous=none"])[0].addr.port == 1
    for arguments in (["-us", "ann"], ["--us", "ann"], ["-user", "ann", "-ad"]):
        with pytest.raises(SystemExit):
            cli.token(arguments)
        assert "unknown flag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SFS_ANONYMUS=none", "SFS_ANONYMOUS"),
        ("SFS_MASTERS=m:9333", "SFS_MASTER"),
        ("SFS_MAX_UPLOAD=5", "SFS_MAX_UPLOAD_MB"),
        ("SFS_GFS_JWT_SIGNING_KEYS=x", "SFS_GFS_JWT_SIGNING_KEY"),
        ("SFS_JWT_ISSUERS=x", "SFS_JWT_ISSUER"),
        ("SFS_XYZZY=1", None),
        # Nearly what a Service gives.
        ("SFS_PORT=8080", None),
        ("SFS_SERVICE=x", None),
        ("SFS_PORT_8080=tcp://10.0.0.1:8080", None),
        ("SFS_NAME=me", None),
    ],
)
def test_a_variable_that_is_unknown_stops_the_start_and_the_nearest_is_named(
    variable: str, meant: str | None
) -> None:
    name, _, value = variable.partition("=")
    with pytest.raises(ConfigError, match=rf"Unknown environment variable: {name}\b") as caught:
        make_config({}, {name: value, "SFS_ADDR": ":1"}, terminal=True)
    assert meant is None or f"{name} (did you mean {meant}?)" in str(caught.value)
    assert make_config({}, {name: ""}, terminal=True) == Config()


def test_variables_that_stand_for_services_and_links_are_passed_over() -> None:
    environ: dict[str, str] = {}
    for name in ("SFS", "SFS_GATEWAY", "SFS_2"):
        environ |= {  # as Kubernetes says of a Service
            f"{name}_SERVICE_HOST": "10.96.0.1",
            f"{name}_SERVICE_PORT": "8080",
            f"{name}_SERVICE_PORT_HTTP_ALT": "8080",
            f"{name}_PORT": "tcp://10.96.0.1:8080",
            f"{name}_PORT_53_UDP": "udp://10.96.0.1:53",
            f"{name}_PORT_53_UDP_PROTO": "udp",
        }
        for what, value in (
            *(("", "tcp://10.96.0.1:8080"), ("_PROTO", "tcp"), ("_PORT", "8080")),
            *(("_ADDR", "10.96.0.1"), ("_PORT_START", "tcp://a:1"), ("_PORT_END", "tcp://a:9")),
        ):
            environ[f"{name}_PORT_8080_TCP{what}"] = value
        # And as Docker says of a container that is linked to.
        environ |= {f"{name}_NAME": "/web/sfs", f"{name}_ENV_PATH": "/bin\n/sbin"}
    assert make_config({}, environ, terminal=True) == Config()


NOT_UTF_8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    ("command", "arguments", "named"),
    [
        (cli.parse_server, ["-data", NOT_UTF_8], "-data"),
        (cli.parse_server, ["-static", NOT_UTF_8], "-static"),
        (cli.parse_server, ["-cors-origin", "a", "-cors-origin", NOT_UTF_8], "-cors-origin"),
        (cli.token, ["-user", "a", "-data", NOT_UTF_8], "-data"),
        (cli.token, ["-user", NOT_UTF_8], "-user"),
        (cli.parse_backup, ["-to", NOT_UTF_8], "-to"),
        (cli.parse_restore, ["-from", NOT_UTF_8], "-from"),
    ],
)
def test_what_is_not_utf_8_is_named(
    command: Callable[[list[str]], object], arguments: list[str], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        command(arguments)
    assert str(caught.value) == f"{named} is not UTF-8: 'caf\\\\xe9'. Give one that is."


def test_what_is_not_utf_8_is_told_in_one_line() -> None:
    ended = run("-data", NOT_UTF_8)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("sfs-server: -data is not UTF-8")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["SFS_DATA", "JWT_SECRET", "DATABASE_URL", "SFS_JWT_ISSUER"])
def test_a_variable_that_is_not_utf_8_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not UTF-8"):
        make_config({}, {name: NOT_UTF_8}, terminal=True)


@pytest.mark.parametrize("spelling", ["-version", "--version"])
def test_version(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse_server([spelling])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


async def test_token_prints_a_token_that_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)
    ahead = 0.0
    monkeypatch.setattr(clock, "unix", lambda: time.time() + ahead)
    verifier = Verifier.from_config(Config(), SECRET)
    for arguments, admin in ((["-user", "ann"], False), (["--user=ann", "-admin"], True)):
        principal = await verifier.verify(cli.token(arguments))
        assert (principal.user, principal.admin) == ("ann", admin)
    strict = Config(jwt_issuer="me", jwt_audience="you")
    named = ["-user", "ann", "-jwt-issuer", "me", "-jwt-audience", "you"]
    assert await Verifier.from_config(strict, SECRET).verify(cli.token(named))
    for ttl, seconds in (("90s", 90), ("5m", 300), ("24h", 86400), ("7d", 604800)):
        ahead = 0.0
        text = cli.token(["-user", "ann", "-ttl", ttl])
        ahead = seconds - 60
        assert (await verifier.verify(text)).user == "ann"
        ahead = seconds + 60  # more than the leeway
        with pytest.raises(InvalidToken):
            await verifier.verify(text)


@pytest.mark.parametrize(
    ("arguments", "environ", "word"),
    [
        (["-user", "a", "-ttl", "1"], KEY, "-ttl"),
        (["-user", "a", "-ttl", "1w"], KEY, "-ttl"),
        (["-user", "a", "-ttl", "-1h"], KEY, "-ttl"),
        (["-user", "a", "-ttl", "0s"], KEY, "ttl"),
        (["-user", "a", "-ttl", "9999d"], KEY, "ttl"),
        (["-user", "a", "-ttl", "9" * 5000 + "s"], KEY, "ttl"),
        (["-user", ""], KEY, "user"),
        (["-user", "a\nb"], KEY, "user"),
        (["-user", "a"], {"JWT_SECRET": "short"}, "JWT_SECRET"),
        (["-user", "a", "-jwt-public-key", "file"], {}, "private"),
    ],
)
def test_a_token_that_cannot_be_made(
    arguments: list[str], environ: dict[str, str], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JWT_SECRET", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if arguments[-1].startswith("-1"):
        arguments = [*arguments[:-2], f"-ttl={arguments[-1]}"]
    with pytest.raises(ConfigError, match=word):
        cli.token(arguments)


def test_a_token_is_made_only_where_a_server_has_made_a_secret(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "none"):
        refused = run("token", "-user", "ann", "-data", str(data))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(r"sfs-server: No server has made [^\n]*\n", refused.stderr)
    assert os.listdir(tmp_path) == []


def test_a_process_tells_the_same_token_as_its_own(tmp_path: Path) -> None:
    secret_of(Config(data=str(tmp_path)))
    made = run("token", "-user", "ann", "-data", str(tmp_path))
    assert (made.returncode, made.stderr) == (0, "")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", made.stdout)
    refused = run("token", "-user", "ann", "-ttl", "soon", "-data", str(tmp_path))
    assert refused.returncode == 1
    assert re.fullmatch(r"sfs-server: -ttl .*\n", refused.stderr)


@pytest.mark.parametrize(
    ("word", "arguments", "environ"),
    [
        ("known", ["-addr", "no-such-host.invalid:0"], KEY),
        ("-data", ["-data", "{}/file"], KEY),
        ("-data", ["-data", "/proc/none"], KEY),
        ("database", ["-database", "garbage"], KEY),
        ("JWT_SECRET", [], {}),
        ("JWT_SECRET", [], {"JWT_SECRET": "short"}),
        ("public key", ["-jwt-public-key", "{}/key"], {}),
        ("exclude", ["-jwt-public-key", "a", "-jwks-url", "http://a/"], {}),
        ("-addr", ["-addr", "nonsense"], KEY),
        ("SFS_ANONYMOUS", [], {**KEY, "SFS_ANONYMUS": "none"}),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    word: str, arguments: list[str], environ: dict[str, str], tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "key").write_text("no key")
    usual = ["-addr", "127.0.0.1:0", "-database", database_url, "-data", str(tmp_path / "data")]
    ended = run(*usual, *(argument.format(tmp_path) for argument in arguments), env=environ)
    assert ended.returncode == 1, arguments
    assert ended.stdout == ""
    assert re.fullmatch(r"sfs-server: [^\n]+\n", ended.stderr), ended.stderr
    assert word in ended.stderr


def test_an_address_that_cannot_be_listened_on_is_named(tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("-addr", addr, "-database", database_url, "-data", str(tmp_path), env=KEY)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"sfs-server: -addr {addr} cannot be listened on: Address already in use. "
        "Stop what listens there, or give another -addr.\n"
    )


def test_a_data_directory_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="-data cannot"), sole_user(str(tmp_path / "file")):
        pass


@pytest.mark.parametrize(
    ("host", "names", "shown", "reach"),
    [
        ("::1", [("::1", 81, 0, 0)], "[::1]:81", None),
        ("127.0.0.1", [("127.0.0.1", 81)], "127.0.0.1:81", None),
        ("box", [("127.0.0.1", 81), ("192.0.2.7", 81)], "box:81", None),
        ("", [("0.0.0.0", 81), ("::", 81, 0, 0)], "localhost:81", "IPv4 and IPv6"),
        ("", [("0.0.0.0", 81)], "localhost:81", "IPv4"),  # a machine without IPv6
        ("0.0.0.0", [("0.0.0.0", 81)], "localhost:81", "IPv4"),
        ("::", [("::", 81, 0, 0)], "[::1]:81", "IPv6"),
        ("", [("0.0.0.0", 81), ("::", 82, 0, 0)], "127.0.0.1:81", "IPv4 and IPv6"),  # -addr :0
    ],
)
def test_the_banner_shows_an_address_that_can_be_opened_and_who_reaches_it(
    host: str,
    names: list[tuple[Any, ...]],
    shown: str,
    reach: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _banner(Config(addr=Address(host, 8080), jwt_secret=SECRET), names)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith(f" serves at http://{shown}")
    if reach is None:
        assert "interfaces" not in second
    else:
        assert re.fullmatch(
            rf"  reach     all interfaces, {reach}(: http://\S+( and \S+)?)?", second
        )


@pytest.mark.parametrize("master", [None, "m:9333"])
def test_the_banner_of_a_cluster_says_when_folders_move_in_one_step(
    master: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    _banner(Config(master=master, jwt_secret=SECRET), [("127.0.0.1", 81)])
    assert ("LevelDB" in capsys.readouterr().out) is (master is not None)


def test_a_database_that_cannot_be_reached_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    code = (
        "from sfs_server import __main__\n"
        "from sfs_server.database import pool\n"
        "pool.CONNECT_SECONDS = 1.0\n"
        "__main__.main()\n"
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"postgresql://me:hush@127.0.0.1:{closed.getsockname()[1]}/sfs"
        arguments = ["-addr", "127.0.0.1:0", "-data", str(tmp_path / "data"), "-database", url]
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment(KEY),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    *waiting, last = ended.stderr.splitlines()
    assert "waiting for the database" in waiting[0]
    assert last.startswith("sfs-server: the database at 127.0.0.1:")
    assert "hush" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_banner_says_where_it_serves_and_shows_no_token(
    tmp_path: Path, database_url: str
) -> None:
    with Process(tmp_path, "-database", database_url, "-drain-grace", "60") as process:
        process.signal(signal.SIGINT)  # of a keyboard, where there is no grace
        assert process.wait() == 0
    assert f"http://127.0.0.1:{process.port}" in process.output
    assert "eyJ" not in process.output + process.log  # as every JWT begins
    assert database_url not in process.output + process.log
    assert "Traceback" not in process.log
