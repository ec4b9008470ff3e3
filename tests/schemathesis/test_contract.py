"""Requests that schemathesis makes from ``/openapi.json``, good and odd ones, to a real process:
every answer has a status and a form that the document gives, and none is the service's failure."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

from sfs_server.auth.tokens import mint
from tests.support.credentials import SECRET
from tests.support.launcher import Process

SECONDS = 600.0
SETTINGS = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("hooks.py")


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("caller", ["anonymous", "user"])
def test_the_service_keeps_its_contract(caller: str, database_url: str, tmp_path: Path) -> None:
    command = shutil.which("schemathesis", path=sysconfig.get_path("scripts"))
    assert command is not None, "run it by: tox run -e schemathesis"
    arguments = ["--config-file", str(SETTINGS), "run", "--no-color"]
    if caller != "anonymous":
        token = mint(SECRET, user=caller, ttl=3600)
        arguments += ["--header", f"Authorization: Bearer {token}"]
    with Process(tmp_path / "data", "-database", database_url) as process:
        url = f"http://127.0.0.1:{process.port}/openapi.json"
        found = subprocess.run(
            [command, *arguments, url],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Traceback" not in process.log
