"""Whether Discord accepts the bot and shows it the channel: asked without listening, for free."""

import asyncio

from backends import midjourney_discord
from backends.lazy_import import bring
from backends.midjourney_account import Account
from backends.midjourney_errors import explain


async def accepted(account: Account) -> str:
    """Return the sentence that says who the bot is.

    Raises:
        BackendError: the token is not accepted, the channel not seen, or nobody answers.
    """
    try:
        await asyncio.to_thread(bring, "discord")
        client = midjourney_discord.new_client(
            account, connected=_nothing, heard=lambda _: None, removed=lambda _: None
        )
        try:
            await client.login(account.token)
            await midjourney_discord.newest_message(client, account)
            name = client.user.name if client.user else "it"
        finally:
            await client.http.close()
    except Exception as error:
        raise explain(error, account) from error
    return f"Discord accepts the bot {name}, and it sees the channel."


async def _nothing() -> None:
    return
