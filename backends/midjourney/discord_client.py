"""discord.py as far as it is used: a client that only listens, its messages, a check of the bot.

discord.py keeps its addresses on classes, so DISCORD_API_BASE applies to the whole process.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from backends.errors import Forbidden
from backends.lazy_import import import_once
from backends.midjourney.credentials import Credentials
from backends.midjourney.discord_limits import answer_limits, limit_gateway
from backends.midjourney.errors import channel_not_visible, explain
from backends.midjourney.messages import BOT_IDS, Message

if TYPE_CHECKING:
    import discord

MAX_RATE_LIMIT_SECONDS = 30.0
"""Longest rate limit in seconds that discord.py waits for itself; it accepts no lower value."""

MAX_HISTORY_MESSAGES = 500
"""Messages that are read from the channel's history at once."""


def new_client(
    credentials: Credentials,
    *,
    handle_connected: Callable[[], Awaitable[None]],
    handle_message: Callable[["discord.Message"], None],
    handle_removed: Callable[[int], None],
) -> "discord.Client":
    """Return a client, not connected yet, that reports the events of the configured channel.

    `handle_connected` is called after each connection, `handle_message` with each new or edited
    message, `handle_removed` with the id of each deleted one.
    """
    import discord
    from discord.http import Route

    Route.BASE = credentials.api_base
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # the bot uses no voice
    intents = discord.Intents.none()
    intents.guilds = intents.guild_messages = intents.message_content = True
    client = discord.Client(
        intents=intents,
        max_messages=None,
        chunk_guilds_at_startup=False,
        member_cache_flags=discord.MemberCacheFlags.none(),
        guild_ready_timeout=0.0,
        max_ratelimit_timeout=MAX_RATE_LIMIT_SECONDS,
        http_trace=answer_limits(),
    )
    limit_gateway(client, credentials.api_base)

    async def on_connect() -> None:
        await handle_connected()

    async def on_resumed() -> None:
        await handle_connected()

    async def on_message(message: discord.Message) -> None:
        if message.channel.id == credentials.channel_id:
            handle_message(message)

    async def on_raw_message_edit(change: discord.RawMessageUpdateEvent) -> None:
        if change.channel_id == credentials.channel_id:
            handle_message(change.message)

    async def on_raw_message_delete(change: discord.RawMessageDeleteEvent) -> None:
        if change.channel_id == credentials.channel_id:
            handle_removed(change.message_id)

    for handler in (
        on_connect,
        on_resumed,
        on_message,
        on_raw_message_edit,
        on_raw_message_delete,
    ):
        client.event(handler)
    return client


async def newest_message_id(client: "discord.Client", credentials: Credentials) -> int:
    """Return the id of the newest message in the channel, 0 if it is empty.

    Raises:
        Forbidden: the channel does not exist, is not visible to the bot, or holds no messages.
    """
    import discord

    try:
        channel = await client.fetch_channel(credentials.channel_id)
    except (discord.Forbidden, discord.NotFound, discord.InvalidData) as error:
        raise channel_not_visible(credentials) from error
    if not isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.Thread):
        raise Forbidden(
            f"The channel {credentials.channel_id} holds no messages. Set MIDJOURNEY_CHANNEL to a "
            "text channel in which Midjourney answers."
        )
    return channel.last_message_id or 0


async def update_gateway(client: "discord.Client") -> None:
    """Ask Discord for the gateway's address; discord.py would use its built-in one."""
    import yarl
    from discord.gateway import DiscordWebSocket

    _, url, _ = await client.http.get_bot_gateway()
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(url)


async def read_history(
    client: "discord.Client", credentials: Credentials, after: int
) -> AsyncGenerator["discord.Message", None]:
    """Yield the channel's messages that are newer than the message `after`, oldest first."""
    import discord

    channel = client.get_partial_messageable(credentials.channel_id)
    async for message in channel.history(
        limit=MAX_HISTORY_MESSAGES, after=discord.Object(after), oldest_first=True
    ):
        yield message


def convert_message(message: "discord.Message") -> Message | None:
    """Convert a message of discord.py, None if Midjourney is not its author."""
    if message.author.id not in BOT_IDS:
        return None
    embeds = message.embeds
    notice = [text for embed in embeds for text in (embed.title, embed.description) if text]
    colours = [embed.colour.value for embed in embeds if embed.colour is not None]
    return Message(
        id=message.id,
        created_at=message.created_at,
        updated_at=message.edited_at or message.created_at,
        content=message.content,
        embed_text=". ".join(notice),
        embed_footer="\n".join(embed.footer.text for embed in embeds if embed.footer.text),
        embed_colour=colours[0] if colours else None,
        button_ids=tuple(_button_ids(message.components)),
        attachment_url=message.attachments[0].url if message.attachments else None,
        parent_id=message.reference.message_id if message.reference else None,
    )


def _button_ids(components: Iterable[object]) -> Iterator[str]:
    """Yield the custom ids of all buttons, at any depth of rows and containers."""
    for component in components:
        custom_id = getattr(component, "custom_id", None)
        if isinstance(custom_id, str):
            yield custom_id
        yield from _button_ids(getattr(component, "children", ()))


async def check_bot(credentials: Credentials, seconds: float) -> str:
    """Log the bot in, look up its channel, and return a sentence with the bot's name.

    `seconds` limit all of it.

    Raises:
        BackendError: the token is rejected, the channel not visible, or Discord does not answer.
    """
    try:
        await asyncio.to_thread(import_once, "discord")
        client = new_client(
            credentials,
            handle_connected=_do_nothing,
            handle_message=lambda _: None,
            handle_removed=lambda _: None,
        )
        try:
            async with asyncio.timeout(seconds):
                await client.login(credentials.token)
                await newest_message_id(client, credentials)
            name = client.user.name if client.user else "it"
        finally:
            await client.http.close()
    except Exception as error:
        raise explain(error, credentials) from error
    return f"Discord accepts the bot {name}, and it sees the channel."


async def _do_nothing() -> None:
    return
