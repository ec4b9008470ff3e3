"""The secret for tokens: made once, whole, and kept from others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sfs_server.auth.secret import secret_of, write_private
from sfs_server.config import Config, ConfigError


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    config = Config(data=str(tmp_path / "new" / "data"))
    first = secret_of(config)
    path = Path(config.data) / "jwt-secret"
    assert first is not None
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_of(config) == first
    assert os.listdir(config.data) == ["jwt-secret"]
    assert secret_of(Config(data=str(tmp_path / "other"))) != first


def test_no_secret_is_made_where_there_is_a_key(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert secret_of(Config(data=data, jwt_secret="given")) == "given"
    assert secret_of(Config(data=data, jwt_public_key="file")) is None
    assert secret_of(Config(data=data, jwt_public_key="file", jwt_secret="unused")) is None
    assert secret_of(Config(data=data, jwks_url="http://a/")) is None
    assert not os.path.exists(data)


def test_a_secret_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "jwt-secret").write_bytes(b"\xff\xfe")
    for data in (tmp_path / "file", tmp_path / "binary", Path("/proc/none")):
        with pytest.raises(ConfigError, match="JWT_SECRET"):
            secret_of(Config(data=str(data)))


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_secret_that_was_cut_short_is_called_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "jwt-secret").write_text(content)
    for make in (True, False):
        with pytest.raises(ConfigError, match="file jwt-secret under -data is empty") as caught:
            secret_of(Config(data=str(tmp_path)), make=make)
        assert "JWT_SECRET" not in str(caught.value)


@pytest.mark.parametrize("replace", [True, False])
def test_a_private_file_is_whole_or_not_there(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "private"
    (tmp_path / f"private.{os.getpid()}").write_bytes(b"what a killed process of this id has left")
    write_private(str(path), b"first", replace=replace)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if replace:
        write_private(str(path), b"second", replace=True)
    else:
        with pytest.raises(FileExistsError):
            write_private(str(path), b"second", replace=False)
    assert path.read_bytes() == (b"second" if replace else b"first")
    with pytest.raises(TypeError):
        write_private(str(path), "no bytes", replace=replace)  # type: ignore[arg-type]
    assert path.read_bytes() == (b"second" if replace else b"first")
    assert os.listdir(tmp_path) == ["private"]
