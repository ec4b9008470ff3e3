"""The proxy does what it is told, so that tests behind it mean what they say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from tests.support.proxy import Proxy

DATA = bytes(range(256)) * 400


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that answers each line with DATA."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.readline():
                writer.write(DATA)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Proxy(("127.0.0.1", server.sockets[0].getsockname()[1])) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


async def ask(proxy: Proxy, most: int = len(DATA), seconds: float = 2) -> tuple[bytes, str]:
    """What one connection gives for one line, and how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    got = b""
    try:
        writer.write(b"go\n")
        async with asyncio.timeout(seconds):
            while len(got) < most:
                piece = await reader.read(most - len(got))
                if not piece:
                    return got, "closed"
                got += piece
    except ConnectionResetError:
        return got, "reset"
    except TimeoutError:
        return got, "silent"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return got, "whole"


async def test_passes_everything(proxy: Proxy) -> None:
    assert await ask(proxy) == (DATA, "whole")
    assert proxy.passed == len(DATA)
    assert proxy.opened == 1


@pytest.mark.parametrize("count", [0, 1, 100, 65536, len(DATA) - 1])
async def test_cuts_at_the_byte_and_stays_down(proxy: Proxy, count: int) -> None:
    proxy.cut_after(count)
    got, end = await ask(proxy)
    assert got == DATA[:count]
    assert end in ({"closed", "reset"} if count == 0 else {"closed"})
    assert (await ask(proxy))[0] == b""
    proxy.heal()
    assert await ask(proxy) == (DATA, "whole")


@pytest.mark.parametrize("count", [0, 1, 70000])
async def test_resets(proxy: Proxy, count: int) -> None:
    proxy.reset_after(count)
    got, end = await ask(proxy)
    assert DATA[:count].startswith(got)
    assert end == "reset"


@pytest.mark.parametrize("count", [0, 1, 70000])
async def test_stalls(proxy: Proxy, count: int) -> None:
    proxy.stall_after(count)
    assert await ask(proxy, seconds=0.1) == (DATA[:count], "silent")
    waiting = asyncio.create_task(ask(proxy))
    await asyncio.sleep(0.02)
    proxy.heal()
    assert await waiting == (DATA, "whole")


@pytest.mark.parametrize("order", [Proxy.cut_after, Proxy.reset_after])
async def test_counts_upstream(proxy: Proxy, order: Callable[..., None]) -> None:
    order(proxy, 2, upstream=True)
    got, end = await ask(proxy)
    assert got == b""
    assert end in {"closed", "reset"}
    assert proxy.passed == 0


async def test_a_client_that_leaves_is_missed_by_nobody() -> None:
    """What it had sent is with the target, whose connection stays open, and nothing more comes."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(100):
                arrived.put_nowait(piece)
        arrived.put_nowait(b"")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        async with Proxy(("127.0.0.1", server.sockets[0].getsockname()[1])) as proxy:
            proxy.leave_after(3, upstream=True)
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"12345")
            assert await arrived.get() == b"123"
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()
            proxy.heal()
            _, other = await asyncio.open_connection("127.0.0.1", proxy.port)
            other.write(b"again")
            assert await arrived.get() == b"again"
            other.close()
            assert await arrived.get() == b"", "the end of the other one"
            assert arrived.empty()
        assert await arrived.get() == b"", "the proxy has ended"


async def test_a_dead_target_is_a_closed_connection() -> None:
    async with Proxy(("127.0.0.1", 1)) as proxy:
        got, end = await ask(proxy)
    assert got == b""
    assert end in {"closed", "reset"}
