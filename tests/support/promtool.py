"""Prometheus's own judge of metrics and rules, from Debian's package ``prometheus``."""

from __future__ import annotations

import subprocess

from tests.support.programs import find_program

PROMTOOL_SECONDS = 30.0


def promtool(*arguments: str, text: str = "") -> None:
    """Run it; it must find nothing to say. Skips the test where it is not installed."""
    done = subprocess.run(
        [find_program("promtool"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
