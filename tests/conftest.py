"""What all tests share."""

import logging
import os
import signal

import pytest

pytest.register_assert_rewrite("tests.support")

pytest_plugins = ["tests.support.postgres", "tests.support.rooted"]

# Else gRPC takes part in each fork of this process, whose children have no use for it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# A shell that starts the tests in the background has them ignore the first two, and nohup the
# third; so would every process that a test starts and stops by one of them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _of_this_loop(record: logging.LogRecord) -> bool:
    """Whether an error of asyncio is this test's. gRPC has one poller in a process, which still
    hears of the calls of an earlier test, whose loop has been closed (grpc/grpc#25364)."""
    return "PollerCompletionQueue._handle_events" not in record.getMessage()


logging.getLogger("asyncio").addFilter(_of_this_loop)
