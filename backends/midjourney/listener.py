"""One ordinary bot that reads one channel, for all jobs of an event loop.

The bot never writes, presses or uploads anything, and nothing is automated towards Midjourney: a
person pastes each command. Where the connection breaks, discord.py connects anew; what was missed
meanwhile is read from the channel's history.

Midjourney without a bot: nobody listens in Discord, the person brings the grid.
"""

import asyncio
import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from backends.base import Config
from backends.http.client import Timeouts
from backends.lazy_import import import_once
from backends.midjourney import discord_client
from backends.midjourney.credentials import Credentials
from backends.midjourney.errors import explain
from backends.midjourney.matching import ConnectionLost, Job, JobEvent, JobMatcher
from backends.midjourney.request import Command

if TYPE_CHECKING:
    import discord

MAX_CONNECT_SECONDS = 60.0
MAX_HISTORY_SECONDS = 20.0
RECONNECT_SECONDS = 1.0
CLOSE_SECONDS = 2.0

log = logging.getLogger(__name__)


class Listeners:
    """The listeners of each event loop: one, except while settings change."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Credentials, Listener]] = (
            WeakKeyDictionary()
        )

    async def get(self, account: Credentials) -> "Listener":
        """Return the running loop's listener once it hears the channel.

        Raises:
            BackendError: it cannot; the next call tries anew.
        """
        listeners = self._loops.setdefault(asyncio.get_running_loop(), {})
        for other, listener in list(listeners.items()):
            if listener.has_ended or (other != account and not listener.is_busy):
                del listeners[other]
                await listener.aclose()
        if account not in listeners:
            limit = min(Timeouts.from_config(self._config).answer, MAX_CONNECT_SECONDS)
            listeners[account] = Listener(account, limit)
        listener = listeners[account]
        await listener.wait_until_connected()
        return listener

    async def aclose(self) -> None:
        """Disconnect the running loop's listeners."""
        for listener in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await listener.aclose()


class Listener:
    """Connects as soon as it is made; `limit` is the seconds for connecting and for a history."""

    def __init__(self, account: Credentials, limit: float) -> None:
        self._credentials = account
        self._max_seconds = limit
        self._matcher = JobMatcher()
        self._client: discord.Client | None = None
        self._failure: Exception | None = None
        self._connection: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._listen(), name="Midjourney's channel")

    @property
    def has_ended(self) -> bool:
        """Whether it will hear nothing more."""
        return self._task.done()

    @property
    def is_busy(self) -> bool:
        """Whether a job waits, or somebody waits for the connection."""
        return bool(self._matcher.jobs) or not self._connection.done()

    async def wait_until_connected(self) -> None:
        """Wait until the channel is heard.

        Raises:
            BackendError: it will not be.
        """
        try:
            async with asyncio.timeout(self._max_seconds):
                await asyncio.shield(self._connection)
        except Exception as error:
            await self.aclose()
            raise explain(error, self._credentials) from error

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Let `command` wait for its messages as long as the block runs."""
        with self._matcher.register(command) as job:
            if self._failure is not None:
                job.events.put_nowait(ConnectionLost(self._failure))
            yield job

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return what is heard next of `job`; None when it is nothing for so long.

        Before it gives up it looks through the history: pictures that were paid for may be there.
        """
        try:
            async with asyncio.timeout(seconds):
                return await job.events.get()
        except TimeoutError:
            await self._read_missed()
        return None if job.events.empty() else job.events.get_nowait()

    async def aclose(self) -> None:
        """Disconnect; whoever still waits is told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(ConnectionError("closed"))

    async def _listen(self) -> None:
        try:
            discord = await asyncio.to_thread(import_once, "discord")
            client = self._client = discord_client.new_client(
                self._credentials,
                handle_connected=self._handle_connected,
                handle_message=self._handle_message,
                handle_removed=self._matcher.handle_removed,
            )
            await client.login(self._credentials.token)
            self._matcher.newest_message_id = await discord_client.newest_message_id(
                client, self._credentials
            )
            await discord_client.update_gateway(client)
            await self._keep_connected(client, discord.ClientException)
        except Exception as error:
            self._fail(error)
        finally:
            await self._disconnect()

    async def _keep_connected(self, client: "discord.Client", verdict: type[Exception]) -> None:
        """Stay connected; only Discord's own `verdict` (a token that was revoked) ends it."""
        while True:
            try:
                await client.connect()
            except verdict:
                raise
            except Exception as error:
                # One message that discord.py cannot read must not end all jobs.
                if not self._connection.done():
                    raise
                log.warning("The connection to Discord broke (%s).", type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()
        except Exception as error:
            log.info("Discord was left without a goodbye (%s).", type(error).__name__)
        await client.http.close()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._matcher.fail_all(error)
        if not self._connection.done():
            self._connection.set_exception(error)
            self._connection.exception()  # nobody may be waiting for it

    async def _handle_connected(self) -> None:
        if not self._connection.done():
            self._connection.set_result(None)
        await self._read_missed()

    def _handle_message(self, message: "discord.Message") -> None:
        self._matcher.newest_message_id = max(self._matcher.newest_message_id, message.id)
        if post := discord_client.convert_message(message):
            self._matcher.handle_message(post)

    async def _read_missed(self) -> None:
        """Read what may have been missed; a look that fails costs nobody the pictures."""
        client = self._client
        if client is None or not self._matcher.jobs:
            return
        after = min(job.after_id for job in self._matcher.jobs)
        try:
            async with asyncio.timeout(min(self._max_seconds, MAX_HISTORY_SECONDS)):
                async for message in discord_client.read_history(client, self._credentials, after):
                    self._handle_message(message)
        except Exception as error:
            log.warning("The channel's history could not be read (%s).", type(error).__name__)


class GridSource(Protocol):
    """What hears of a command's pictures."""

    def register(self, command: Command) -> AbstractContextManager[Job]:
        """Let `command` wait as long as the block runs."""
        ...

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return what is heard next of `job`; None when it is nothing for so long."""
        ...


class ManualSource:
    """Hears of nothing but what the person brings."""

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Let `command` wait as long as the block runs."""
        yield Job(command, 0)

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return what the person brings; None when it is nothing for so long."""
        try:
            async with asyncio.timeout(seconds):
                return await job.events.get()
        except TimeoutError:
            return None
