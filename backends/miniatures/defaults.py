"""How each miniature is asked unless a person says otherwise; the catalogue says the same."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Setting:
    """What to pass to a miniature's pipeline, beside the prompt."""

    steps: int
    guidance: float
    truncation_rate: float = 1.0
    """For discrete diffusion: how much of each token's chances is left, the likeliest first."""


SETTINGS: Final[dict[str, Setting]] = {
    "diffusion": Setting(steps=20, guidance=3.0),
    "masked": Setting(steps=32, guidance=1.5),
    "discrete": Setting(steps=32, guidance=1.5, truncation_rate=0.4),
    "autoregressive": Setting(steps=64, guidance=1.5),
    "cascade": Setting(steps=20, guidance=2.0),
    "canny": Setting(steps=20, guidance=3.0),
}
FAMILIES: Final = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
EXAMPLE: Final = "a red star left of a blue ring on a white background"
