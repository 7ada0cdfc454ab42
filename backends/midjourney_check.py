"""Whether Discord accepts the bot and shows it the channel: asked without listening, for free."""

import asyncio

from backends.lazy_import import bring
from backends.midjourney import discord_client
from backends.midjourney.credentials import Account
from backends.midjourney.errors import explain


async def accepted(account: Account) -> str:
    """Return the sentence that says who the bot is.

    Raises:
        BackendError: the token is not accepted, the channel not seen, or nobody answers.
    """
    try:
        await asyncio.to_thread(bring, "discord")
        client = discord_client.new_client(
            account, connected=_nothing, heard=lambda _: None, removed=lambda _: None
        )
        try:
            await client.login(account.token)
            await discord_client.newest_message(client, account)
            name = client.user.name if client.user else "it"
        finally:
            await client.http.close()
    except Exception as error:
        raise explain(error, account) from error
    return f"Discord accepts the bot {name}, and it sees the channel."


async def _nothing() -> None:
    return
