"""Objects of Discord's API, with the fields that discord.py requires."""

from typing import Any

BOT, GUILD, CHANNEL, OTHER_CHANNEL = 11, 22, 33, 34


def user(number: int, name: str, *, bot: bool = True) -> dict[str, Any]:
    """Return a user: a bot, or a person."""
    return {
        "id": str(number),
        "username": name,
        "discriminator": "0",
        "global_name": None,
        "avatar": None,
        "bot": bot,
        "verified": True,
        "mfa_enabled": False,
        "flags": 0,
    }


def application() -> dict[str, Any]:
    """Return the bot's application."""
    return {
        "id": str(BOT),
        "name": "listener",
        "icon": None,
        "description": "",
        "bot_public": False,
        "bot_require_code_grant": False,
        "owner": user(44, "owner", bot=False),
        "verify_key": "",
        "flags": 1 << 19,
    }


def channel() -> dict[str, Any]:
    """Return a text channel."""
    return {
        "id": str(CHANNEL),
        "type": 0,
        "guild_id": str(GUILD),
        "name": "pictures",
        "position": 0,
        "permission_overwrites": [],
        "nsfw": False,
        "topic": None,
        "parent_id": None,
    }


def guild() -> dict[str, Any]:
    """Return a private server with two channels."""
    return {
        "id": str(GUILD),
        "name": "a private server",
        "icon": None,
        "owner_id": "44",
        "channels": [channel(), {**channel(), "id": str(OTHER_CHANNEL), "name": "talk"}],
        "roles": [],
        "emojis": [],
        "stickers": [],
        "members": [],
        "threads": [],
        "features": [],
        "member_count": 3,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "afk_timeout": 300,
        "system_channel_flags": 0,
        "preferred_locale": "en-US",
    }


def message() -> dict[str, Any]:
    """Return an empty message."""
    return {
        "channel_id": str(CHANNEL),
        "author": user(BOT, "somebody"),
        "content": "",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
        "components": [],
    }
