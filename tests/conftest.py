"""What all tests share."""

import os

pytest_plugins = ["tests.postgres", "tests.rooted"]

# Else gRPC takes part in each fork of this process, whose children have no use for it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
