"""Whether the time of a 404 tells a hidden namespace from one that does not exist.

``python -m bench.hidden [N]`` starts the service and has the owner of a hidden namespace read from
it all the time. Somebody else, on one connection, asks for a file in it and for one in a namespace
that does not exist, in turns, N times each (300). It prints the medians, and the AUC: how often the
one takes longer than the other, 0.5 being by chance. The same for the growth of the sum of
``sfs_http_request_duration_seconds`` in ``/metrics``, for which others must not make 404s
meanwhile. No assertion: a busy machine has its own noise, of about 0.04 for N = 300.
"""

from __future__ import annotations

import http.client
import random
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from statistics import median
from time import perf_counter

from bench.servers import Place, sfs
from sfs_server.auth.tokens import mint

HIDDEN, PAUSE_SECONDS = "secret-0000000", 0.002
_SUM = re.compile(r'^sfs_http_request_duration_seconds_sum\{.*status="404".*\} (\S+)$', re.M)


class Caller:
    """One connection, kept open, of one user."""

    def __init__(self, port: int, user: str, secret: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {mint(secret, user=user, ttl=3600)}"}

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """The status and the body of the response."""
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read().decode()


def main() -> None:
    """Measure, and print."""
    times = int(sys.argv[1]) if sys.argv[1:] else 300
    with tempfile.TemporaryDirectory() as directory, sfs(Place(directory)) as server:
        with open(f"{directory}/data/jwt-secret") as file:
            secret = file.read()
        owner, other, third = (Caller(server.port, user, secret) for user in ("a", "b", "c"))
        owner.ask("POST", "/storage/namespaces", f'{{"name": "{HIDDEN}", "hidden": true}}')
        owner.ask("PUT", f"/storage/{HIDDEN}/f", "x")
        done = threading.Event()

        def use() -> None:
            while not done.wait(PAUSE_SECONDS):
                assert owner.ask("GET", f"/storage/{HIDDEN}/f")[0] == 200  # nosec B101

        def grown() -> float:
            return sum(map(float, _SUM.findall(third.ask("GET", "/metrics")[1])))

        using = threading.Thread(target=use)
        using.start()
        try:
            _compare("on the wire", other, perf_counter, times)
            _compare("in /metrics", other, grown, times)
        finally:
            done.set()
            using.join()


def _compare(what: str, caller: Caller, clock: Callable[[], float], times: int) -> None:
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(times):
        for hidden in random.sample((True, False), 2):
            name = HIDDEN if hidden else f"absent-{random.randrange(10**7):07}"  # nosec B311
            begin = clock()
            status, _ = caller.ask("GET", f"/storage/{name}/f")
            taken[hidden].append(clock() - begin)
            assert status == 404  # nosec B101
    print(
        f"{what}: hidden {median(taken[True]) * 1e6:.0f} µs, absent "
        f"{median(taken[False]) * 1e6:.0f} µs, AUC {_auc(taken[True], taken[False]):.3f}"
    )


def _auc(ones: list[float], others: list[float]) -> float:
    wins = sum((a > b) + (a == b) / 2 for a in ones for b in others)
    return wins / (len(ones) * len(others))


if __name__ == "__main__":
    main()
