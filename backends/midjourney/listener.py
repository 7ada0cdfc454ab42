"""Sources of grids: a bot that reads one channel for all jobs of an event loop, and manual uploads.

The bot never writes, presses or uploads anything, and nothing is automated towards Midjourney: a
person pastes each command. Where the connection breaks, discord.py connects again; the messages in
between are read from the channel's history.
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
"""Limit for connecting to Discord, in seconds."""
MAX_HISTORY_SECONDS = 20.0
"""Limit for reading the channel's history, in seconds."""
RECONNECT_SECONDS = 1.0
"""Seconds before a broken connection is opened again."""
CLOSE_SECONDS = 2.0
"""Limit for closing the connection, in seconds."""

log = logging.getLogger(__name__)


class GridSource(Protocol):
    """Source of a command's events: a listening bot, or a person who uploads the grid."""

    def register(self, command: Command) -> AbstractContextManager[Job]:
        """Register `command` as a job that receives events until the block ends."""
        ...

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return the job's next event, None if there is none within `seconds`."""
        ...


class Listeners:
    """The listeners of each event loop: one, except while settings change."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Credentials, Listener]] = (
            WeakKeyDictionary()
        )

    async def get(self, credentials: Credentials) -> "Listener":
        """Return the running loop's listener once it is connected.

        Raises:
            BackendError: it cannot connect; the next call tries again.
        """
        listeners = self._loops.setdefault(asyncio.get_running_loop(), {})
        for other, listener in list(listeners.items()):
            if listener.has_ended or (other != credentials and not listener.is_busy):
                del listeners[other]
                await listener.aclose()
        if credentials not in listeners:
            limit = min(Timeouts.from_config(self._config).answer, MAX_CONNECT_SECONDS)
            listeners[credentials] = Listener(credentials, limit)
        listener = listeners[credentials]
        await listener.wait_until_connected()
        return listener

    async def aclose(self) -> None:
        """Disconnect the running loop's listeners."""
        for listener in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await listener.aclose()


class Listener:
    """A bot that connects when it is created, and matches the channel's messages to jobs.

    `max_seconds` limits connecting, and reading the channel's history.
    """

    def __init__(self, credentials: Credentials, max_seconds: float) -> None:
        self._credentials = credentials
        self._max_seconds = max_seconds
        self._matcher = JobMatcher()
        self._client: discord.Client | None = None
        self._failure: Exception | None = None
        self._connection: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._listen(), name="Midjourney's channel")

    @property
    def has_ended(self) -> bool:
        """True if no more messages will be received."""
        return self._task.done()

    @property
    def is_busy(self) -> bool:
        """True while a job is registered or the connection is being made."""
        return bool(self._matcher.jobs) or not self._connection.done()

    async def wait_until_connected(self) -> None:
        """Wait until messages of the channel are received.

        Raises:
            BackendError: the bot cannot connect.
        """
        try:
            async with asyncio.timeout(self._max_seconds):
                await asyncio.shield(self._connection)
        except Exception as error:
            await self.aclose()
            raise explain(error, self._credentials) from error

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Register `command` as a job that receives events until the block ends."""
        with self._matcher.register(command) as job:
            if self._failure is not None:
                job.events.put_nowait(ConnectionLost(self._failure))
            yield job

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return the job's next event, None if there is none within `seconds`.

        At the end of that time the channel's history is read: it may hold pictures that were paid
        for.
        """
        try:
            async with asyncio.timeout(seconds):
                return await job.events.get()
        except TimeoutError:
            await self._read_missed()
        return None if job.events.empty() else job.events.get_nowait()

    async def aclose(self) -> None:
        """Disconnect; jobs that still wait receive `ConnectionLost`."""
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

    async def _keep_connected(self, client: "discord.Client", rejection: type[Exception]) -> None:
        """Stay connected until Discord rejects the bot, for example its revoked token."""
        while True:
            try:
                await client.connect()
            except rejection:
                raise
            except Exception as error:
                # A message that discord.py cannot parse must not end all jobs.
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
            self._connection.exception()  # marks it as retrieved: there may be no waiter

    async def _handle_connected(self) -> None:
        if not self._connection.done():
            self._connection.set_result(None)
        await self._read_missed()

    def _handle_message(self, message: "discord.Message") -> None:
        self._matcher.newest_message_id = max(self._matcher.newest_message_id, message.id)
        if (converted := discord_client.convert_message(message)) is not None:
            self._matcher.handle_message(converted)

    async def _read_missed(self) -> None:
        """Read messages that may have been missed; a failure is logged, and no job fails by it."""
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


class ManualSource:
    """Receives only the grid that a person uploads."""

    @contextmanager
    def register(self, command: Command) -> Generator[Job]:
        """Register `command` as a job that receives events until the block ends."""
        yield Job(command, 0)

    async def next_event(self, job: Job, seconds: float) -> JobEvent | None:
        """Return the uploaded grid, None if there is none within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await job.events.get()
        except TimeoutError:
            return None
