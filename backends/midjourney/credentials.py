"""Settings of Midjourney: the bot and its channel, time limits, the price of a grid."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from backends.base import Config, Model
from backends.errors import MissingKey, NotReady
from backends.settings import address, key, positive_number, setting

DEFAULT_API_BASE = "https://discord.com/api/v10"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The bot's token and its channel; read anew for each job."""

    token: str = field(repr=False)
    channel_id: int
    api_base: str

    @classmethod
    def from_config_if_set(cls, config: Config) -> Self | None:
        """Read the settings; None if none is set and a person can upload the grid.

        Raises:
            BackendError: a setting is missing or invalid.
        """
        names = ("DISCORD_BOT_TOKEN", "MIDJOURNEY_CHANNEL")
        is_empty = not any(setting(config, name) for name in names)
        return None if is_empty and config.attended else cls.from_config(config)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Read the settings.

        Raises:
            BackendError: a setting is missing or invalid.
        """
        token = key(config, "DISCORD_BOT_TOKEN")
        channel = setting(config, "MIDJOURNEY_CHANNEL")
        if not token or not channel:
            raise MissingKey(
                "Midjourney has no API: a Discord bot of your own reads its answers. Set "
                "DISCORD_BOT_TOKEN and MIDJOURNEY_CHANNEL."
            )
        if re.fullmatch(r"[0-9]{1,20}", channel) is None:
            raise NotReady(
                "MIDJOURNEY_CHANNEL must be the number of a channel. In Discord, turn on the "
                "developer mode and choose Copy Channel ID."
            )
        api_base = address(config, "DISCORD_API_BASE", DEFAULT_API_BASE)
        return cls(token=token, channel_id=int(channel), api_base=api_base)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLimits:
    """Seconds to wait for the command to be pasted, and after that for each next update."""

    paste: float = 600.0
    update: float = 600.0

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Read the limits from the settings; an invalid one is ignored."""
        defaults = cls()
        paste = positive_number(config, "MIDJOURNEY_PASTE_SECONDS")
        done = positive_number(config, "MIDJOURNEY_DONE_SECONDS")
        return cls(
            paste=defaults.paste if paste is None else float(paste),
            update=defaults.update if done is None else float(done),
        )


def grid_price(model: Model, config: Config) -> Decimal | None:
    """Return the price of a grid in USD: MIDJOURNEY_GRID_USD, or else the catalogue's."""
    override = positive_number(config, "MIDJOURNEY_GRID_USD", zero=True)
    return model.price.per_image if override is None else override
