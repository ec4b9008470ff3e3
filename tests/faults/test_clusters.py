"""The cluster engine on clusters that are set up otherwise: several masters, signed requests."""

from __future__ import annotations

import asyncio
import json
import urllib.error
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from manifests.laptop.weed import Sizes
from tests.gfs.cluster import VOLUME_SERVERS, Cluster, Process, require, running
from tests.support.waiting import eventually

require()

from gfs.errors import StoreFull, StoreUnavailable  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from gfs.seaweedfs.servers.address import parse  # noqa: E402
from gfs.seaweedfs.servers.filer import Assigned, Filers  # noqa: E402
from gfs.seaweedfs.servers.rpc import CallFailed  # noqa: E402
from gfs.types import Tls  # noqa: E402
from tests.gfs.suite import CHUNK, DIR, content, feed, listed, load, store  # noqa: E402


def leads(cluster: Cluster, master: Process) -> bool:
    try:
        return bool(json.loads(cluster.get(master, "/cluster/status")).get("IsLeader"))
    except (OSError, urllib.error.URLError):
        return False


async def leader(cluster: Cluster) -> Process:
    found: Process = await eventually(
        lambda: next((one for one in cluster.all_masters if leads(cluster, one)), None), 20
    )
    return found


async def serving(fs: SeaweedFileSystem) -> bool:
    """Whether a leader counts all volume servers."""
    try:
        return (await fs.status()).chunkservers == VOLUME_SERVERS
    except StoreUnavailable:
        return False


async def test_the_leading_master_is_found_and_followed() -> None:
    with running(masters=3) as cluster:
        first = await leader(cluster)
        follower = next(master for master in cluster.all_masters if master is not first)
        data = content(2 * CHUNK)
        fs = await SeaweedFileSystem.start(f"{follower.dotted},{cluster.masters}")
        try:
            await fs.make_directory(DIR)
            await store(fs, "f", data)
            assert (await fs.status()).servers == 3 + 3 + 1
            async with await fs.create(DIR, "g") as writer:
                await feed(writer, data[:CHUNK])
                first.kill()
                assert await load(fs, "f") == data
                await feed(writer, data[CHUNK:])
                await writer.commit()
            assert await load(fs, "g") == data
            await eventually(lambda: serving(fs), 20)
        finally:
            await fs.close()


async def test_another_filer_serves_while_the_first_is_away() -> None:
    """Each of these has a store of its own, and they tell each other within a second."""
    with running(filers=2) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await eventually(lambda: len(fs._masters.filers) >= 2)
            await fs.make_directory(DIR)
            await store(fs, "f", b"1")
            assert (await fs.status()).servers == VOLUME_SERVERS + 1 + 2
            await asyncio.sleep(2)
            first = min(cluster.filers, key=lambda filer: parse(filer.dotted))
            first.kill()
            assert await load(fs, "f") == b"1"
            assert (await store(fs, "f", b"2")).replaced
            assert await load(fs, "f") == b"2"
            await eventually(lambda: fs._cache.in_use)
            assert await load(fs, "f") == b"2"
        finally:
            await fs.close()


async def test_requests_are_signed_where_the_cluster_asks_for_it() -> None:
    settings = {
        "WEED_JWT_SIGNING_KEY": "to write",
        "WEED_JWT_SIGNING_READ_KEY": "to read",
    }
    with running(settings=settings) as cluster:
        data = content(3 * CHUNK)
        fs = await SeaweedFileSystem.start(
            cluster.masters, read_key=b"to read", write_key=b"to write"
        )
        stranger = await SeaweedFileSystem.start(cluster.masters, write_key=b"to write")
        try:
            await fs.make_directory(DIR)
            await store(fs, "f", data)
            assert await load(fs, "f") == data
            await store(fs, "f", data[::-1])
            assert await load(fs, "f") == data[::-1]
            with pytest.raises(StoreUnavailable):
                await load(stranger, "f")
        finally:
            await stranger.close()
            await fs.close()


async def test_control_calls_are_encrypted_where_the_cluster_asks_for_it(tmp_path: Path) -> None:
    paths = make_certificates(tmp_path)
    settings = {"WEED_GRPC_CA": str(paths["ca.crt"])}
    for kind in ("MASTER", "VOLUME", "FILER", "CLIENT"):
        settings[f"WEED_GRPC_{kind}_CERT"] = str(paths["own.crt"])
        settings[f"WEED_GRPC_{kind}_KEY"] = str(paths["own.key"])
    tls = Tls(*(paths[name].read_bytes() for name in ("ca.crt", "own.crt", "own.key")))
    with running(settings=settings) as cluster:
        data = content(3 * CHUNK)
        fs = await SeaweedFileSystem.start(cluster.masters, tls=tls)
        try:
            await fs.make_directory(DIR)
            await store(fs, "f", data)
            assert await load(fs, "f") == data
            assert await listed(fs) == [await fs.stat(DIR, "f")]
        finally:
            await fs.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gfs.seaweedfs.filesystem.START_SECONDS", 1.0)
            with pytest.raises(StoreUnavailable):
                await SeaweedFileSystem.start(cluster.masters)


def make_certificates(home: Path) -> dict[str, Path]:
    """A certificate authority, and one certificate for everybody on 127.0.0.1."""
    now = datetime.now(UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    own = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        here = x509.SubjectAlternativeName(
            [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(here, critical=False)
            .sign(authority, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    texts = {
        "ca.crt": certificate(issuer, authority, ca=True),
        "own.crt": certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]), own, ca=False
        ),
        "own.key": own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    }
    for name, text in texts.items():
        (home / name).write_bytes(text)
    return {name: home / name for name in texts}


async def test_uploads_outlive_a_volume_server_that_hangs() -> None:
    """It takes volumes that are not on that server. A cluster that has just made its volumes has
    some; none can be made while the server hangs."""
    data = content(6 * CHUNK)
    with running() as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            await store(fs, "before", data)
            await asyncio.sleep(0.5)
            async with await fs.create(DIR, "f") as writer:
                await feed(writer, data[:CHUNK])
                cluster.volumes[1].stop()
                await feed(writer, data[CHUNK:])
                await writer.commit()
            assert await load(fs, "f") == data
        finally:
            await fs.close()


@pytest.mark.parametrize("told", ["by the filer", "by nobody"])
async def test_a_cluster_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setattr("gfs.seaweedfs.uploads.FULL_SECONDS", 0.5)
    if told == "by nobody":
        assign = Filers.assign

        async def late(self: Filers, path: str, count: int) -> Assigned:
            try:
                return await assign(self, path, count)
            except StoreFull:
                raise CallFailed("a filer", grpc.StatusCode.DEADLINE_EXCEEDED, "") from None

        monkeypatch.setattr(Filers, "assign", late)
    with running(sizes=Sizes(volume_megabytes=8, volumes_grown=1, volumes_most=2)) as cluster:
        fs = await SeaweedFileSystem.start(cluster.masters)
        try:
            await fs.make_directory(DIR)
            data = content(CHUNK)
            await store(fs, "before", b"1")
            with pytest.raises(StoreFull):
                await fs.create(DIR, "f", size=100 * CHUNK)
            with pytest.raises(StoreFull):
                async with await fs.create(DIR, "f") as writer:
                    await feed(writer, data * 100, CHUNK)
            assert await load(fs, "before") == b"1"
            assert (await fs.usage(DIR)).files == 1
        finally:
            await fs.close()
