"""The hints under the form, as HTML."""

from pathlib import Path

from backends.base import Request
from compare.lineup import open_lineup
from compare.records import RunSpec
from compare.settings import Settings
from ui.compare_tab.form import PROMPT
from ui.compare_tab.hints import hints


async def test_hints_follow_the_estimate_and_are_text(home: Path) -> None:
    settings = Settings(LINEUP_HOME=home)  # pyright: ignore[reportCallIssue]
    chosen = ["miniature/masked", "openai/gpt-image-2"]
    async with open_lineup(settings) as lineup:
        assert await hints(lineup, [RunSpec(Request(prompt=PROMPT))], chosen) == ""
        assert await hints(lineup, [RunSpec(Request(prompt="(a:1.3)"))], []) == ""
        lineup.availability.record_seconds("miniature/masked", 12.4)
        html = await hints(lineup, [RunSpec(Request(prompt="<b:1> (star:1.3)"))], chosen)
    assert "about <b>12 s</b> for 1 of 2 by what was measured here" in html
    assert "“&lt;b:1&gt;”, “(star:1.3)”: plain words to Miniature masked tokens" in html
    assert "<b:1>" not in html
