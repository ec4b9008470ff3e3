"""A rolling restart of the four pods under load: ``tox run -e rehearsal``. It takes a minute."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.gateway import find
from tests.packaging.pods import ALONE
from tests.rehearsal.load import EACH, PER_SECOND, WEIGHTS
from tests.rehearsal.roll import GRACE_SECONDS
from tests.support.rooted import require_root

ROOT = Path(__file__).parents[2]
SECONDS = 300.0

pytestmark = pytest.mark.timeout(SECONDS + 30)


def test_a_rolling_restart_loses_no_transfer_and_no_request_that_is_made_once_more(
    place: Path,
) -> None:
    programs = shutil.which("unshare"), shutil.which("ip"), find()
    require_root(
        "it takes root to have a network of one's own, unshare, ip, the gateway", *programs
    )
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.rehearsal.roll", str(place)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["cut"] == found["tracebacks"] == 0
    again = [kind.partition(":")[0] for kind in found["retries"]]
    assert not {"upload", "download"} & set(again), "a drain waits for transfers"
    parts = found["PATCHes of a drain"]
    assert not sum(one["waited for"] for one in parts), "but not for what can be resumed"
    assert sum(one["ended"] for one in parts) > 0

    # It was what it claims to be.
    assert len({*found["pids"]["before"], *found["pids"]["after"]}) == 8
    assert all(count > 0 for count in found["requests of each"])
    small = sum(found["requests"][kind] for kind in WEIGHTS)
    assert small > PER_SECOND / 2 * found["seconds"], "a slow machine may fall behind"
    assert set(found["transfers"]) == {"upload", "download", "resumable"}
    assert all(count >= EACH for count in found["transfers"].values())
    for direction in ("upload", "download"):
        assert sum(one[direction] for one in found["transfers at SIGTERM"]) > 0
    assert max(found["seconds after SIGTERM"]) > GRACE_SECONDS + 1, "a drain has waited for some"
