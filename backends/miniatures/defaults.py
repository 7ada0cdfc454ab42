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
    stage_guidance_scale: float | None = None
    """For a cascade's second stage."""


# Guidance moves every place where a thing may lie towards there being one. Asked for two to four
# things alike, diffusion drew the right number in 2 of 24 pictures with 3, in 9 with 1.3. Those of
# tokens that have practised, which is done without guidance, draw best and twice as fast without:
# masked the right number in 27 of 40 instead of 23.
SETTINGS: Final[dict[str, Setting]] = {
    "diffusion": Setting(steps=20, guidance=1.3),
    "masked": Setting(steps=32, guidance=1.0),
    "discrete": Setting(steps=32, guidance=1.0, truncation_rate=0.4),
    "autoregressive": Setting(steps=64, guidance=1.2),
    "cascade": Setting(steps=20, guidance=1.5, stage_guidance_scale=1.0),
    "canny": Setting(steps=20, guidance=1.3),
}
FAMILIES: Final = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
EXAMPLE: Final = "a red star left of a blue ring on a white background"
