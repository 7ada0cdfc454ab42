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
from backends.midjourney.matching import Job, JobMatcher, Lost, News
from backends.midjourney.request import Command

if TYPE_CHECKING:
    import discord

MOST_CONNECTING = 60.0
MOST_LOOKING_BACK = 20.0
PAUSE = 1.0
GOODBYE = 2.0

log = logging.getLogger(__name__)


class Listeners:
    """The listeners of each event loop: one, except while settings change."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Credentials, Listener]] = (
            WeakKeyDictionary()
        )

    async def here(self, account: Credentials) -> "Listener":
        """Return the running loop's listener once it hears the channel.

        Raises:
            BackendError: it cannot; the next call tries anew.
        """
        listeners = self._loops.setdefault(asyncio.get_running_loop(), {})
        for other, listener in list(listeners.items()):
            if listener.ended or (other != account and not listener.busy):
                del listeners[other]
                await listener.aclose()
        if account not in listeners:
            limit = min(Timeouts.from_config(self._config).answer, MOST_CONNECTING)
            listeners[account] = Listener(account, limit)
        listener = listeners[account]
        await listener.ready()
        return listener

    async def aclose(self) -> None:
        """Disconnect the running loop's listeners."""
        for listener in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await listener.aclose()


class Listener:
    """Connects as soon as it is made; `limit` is the seconds for connecting and for a history."""

    def __init__(self, account: Credentials, limit: float) -> None:
        self._account = account
        self._limit = limit
        self._board = JobMatcher()
        self._client: discord.Client | None = None
        self._end: Exception | None = None
        self._hears: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._listen(), name="Midjourney's channel")

    @property
    def ended(self) -> bool:
        """Whether it will hear nothing more."""
        return self._task.done()

    @property
    def busy(self) -> bool:
        """Whether a job waits, or somebody waits for the connection."""
        return bool(self._board.jobs) or not self._hears.done()

    async def ready(self) -> None:
        """Wait until the channel is heard.

        Raises:
            BackendError: it will not be.
        """
        try:
            async with asyncio.timeout(self._limit):
                await asyncio.shield(self._hears)
        except Exception as error:
            await self.aclose()
            raise explain(error, self._account) from error

    @contextmanager
    def waiting(self, command: Command) -> Generator[Job]:
        """Let `command` wait for its messages as long as the block runs."""
        with self._board.waiting(command) as job:
            if self._end is not None:
                job.news.put_nowait(Lost(self._end))
            yield job

    async def next(self, job: Job, seconds: float) -> News | None:
        """Return what is heard next of `job`; None when it is nothing for so long.

        Before it gives up it looks through the history: pictures that were paid for may be there.
        """
        try:
            async with asyncio.timeout(seconds):
                return await job.news.get()
        except TimeoutError:
            await self._look_back()
        return None if job.news.empty() else job.news.get_nowait()

    async def aclose(self) -> None:
        """Disconnect; whoever still waits is told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(ConnectionError("closed"))

    async def _listen(self) -> None:
        try:
            discord = await asyncio.to_thread(import_once, "discord")
            client = self._client = discord_client.new_client(
                self._account,
                connected=self._connected,
                heard=self._heard,
                removed=self._board.remove,
            )
            await client.login(self._account.token)
            self._board.newest = await discord_client.newest_message(client, self._account)
            await discord_client.find_gateway(client)
            await self._stay(client, discord.ClientException)
        except Exception as error:
            self._fail(error)
        finally:
            await self._goodbye()

    async def _stay(self, client: "discord.Client", verdict: type[Exception]) -> None:
        """Stay connected; only Discord's own `verdict` (a token that was revoked) ends it."""
        while True:
            try:
                await client.connect()
            except verdict:
                raise
            except Exception as error:
                # One message that discord.py cannot read must not end all jobs.
                if not self._hears.done():
                    raise
                log.warning("The connection to Discord broke (%s).", type(error).__name__)
            await asyncio.sleep(PAUSE)

    async def _goodbye(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(GOODBYE):
                await client.close()
        except Exception as error:
            log.info("Discord was left without a goodbye (%s).", type(error).__name__)
        await client.http.close()

    def _fail(self, error: Exception) -> None:
        if self._end is None:
            self._end = error
            self._board.lose(error)
        if not self._hears.done():
            self._hears.set_exception(error)
            self._hears.exception()  # nobody may be waiting for it

    async def _connected(self) -> None:
        if not self._hears.done():
            self._hears.set_result(None)
        await self._look_back()

    def _heard(self, message: "discord.Message") -> None:
        self._board.newest = max(self._board.newest, message.id)
        if post := discord_client.message_of(message):
            self._board.place(post)

    async def _look_back(self) -> None:
        """Read what may have been missed; a look that fails costs nobody the pictures."""
        client = self._client
        if client is None or not self._board.jobs:
            return
        after = min(job.after for job in self._board.jobs)
        try:
            async with asyncio.timeout(min(self._limit, MOST_LOOKING_BACK)):
                async for message in discord_client.history(client, self._account, after):
                    self._heard(message)
        except Exception as error:
            log.warning("The channel's history could not be read (%s).", type(error).__name__)


class GridSource(Protocol):
    """What hears of a command's pictures."""

    def waiting(self, command: Command) -> AbstractContextManager[Job]:
        """Let `command` wait as long as the block runs."""
        ...

    async def next(self, job: Job, seconds: float) -> News | None:
        """Return what is heard next of `job`; None when it is nothing for so long."""
        ...


class ManualSource:
    """Hears of nothing but what the person brings."""

    @contextmanager
    def waiting(self, command: Command) -> Generator[Job]:
        """Let `command` wait as long as the block runs."""
        yield Job(command, 0)

    async def next(self, job: Job, seconds: float) -> News | None:
        """Return what the person brings; None when it is nothing for so long."""
        try:
            async with asyncio.timeout(seconds):
                return await job.news.get()
        except TimeoutError:
            return None
