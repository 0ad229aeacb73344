"""A TCP proxy before PostgreSQL that cuts connections at the moment that a drill asks for."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass

from include.local_stack.settings import free_port

CHUNK = 65_536


@dataclass
class Cut:
    """Cut the connection whose client sends `words`: before they arrive or, `answered`, after."""

    words: bytes
    answered: bool


class Proxy:
    """Forwards `port` of 127.0.0.1 to `target_port`, in a thread of its own."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.cuts = 0
        self._target_port = target_port
        self._wanted: Cut | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()
        server = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        asyncio.run_coroutine_threadsafe(server, self._loop).result(10)

    def stop(self) -> None:
        """Forward nothing more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def cut_once(self, words: bytes, *, answered: bool) -> None:
        """Cut the next connection whose client sends these words; `cuts` counts."""
        self._wanted = Cut(words, answered)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            to_client.close()
            return
        swallow = asyncio.Event()
        pumps = [
            asyncio.ensure_future(self._pump_requests(client, to_server, swallow)),
            asyncio.ensure_future(_pump_answers(server, to_client, swallow)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for writer in (to_client, to_server):
            writer.close()

    async def _pump_requests(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await client.read(CHUNK):
                wanted = self._wanted
                if wanted is not None and wanted.words in data:
                    self._wanted = None
                    self.cuts += 1
                    if not wanted.answered:
                        return
                    swallow.set()
                to_server.write(data)
                await to_server.drain()


async def _pump_answers(
    server: asyncio.StreamReader, to_client: asyncio.StreamWriter, swallow: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await server.read(CHUNK):
            if swallow.is_set():
                return
            to_client.write(data)
            await to_client.drain()
