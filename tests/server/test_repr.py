"""What a debugger shows of the parts of a process."""

from __future__ import annotations

from concurrent.futures import Executor

from sfs_server.web.keys import LINKS
from tests.support.credentials import SECRET
from tests.support.service import Service

WITHOUT_STATE = {LINKS}
"""It has a key, and nothing that may be shown."""


async def test_every_part_shows_its_state_in_one_line_without_secrets(service: Service) -> None:
    await service.put("/storage/default/f", b"12345")
    app = service.app
    ours = {key for key in app if not isinstance(app[key], Executor)} - WITHOUT_STATE
    parts = {str(key): app[key] for key in ours}
    assert len(parts) > 10
    for key, part in parts.items():
        shown = repr(part)
        assert " object at 0x" not in shown, key
        assert "\n" not in shown, key
        assert len(shown) < 1000, key
        assert SECRET not in shown, key
