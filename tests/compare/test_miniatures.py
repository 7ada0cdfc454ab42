"""The five miniature families in one run of the command line, as the README shows it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from backends.miniatures.defaults import EXAMPLE, FAMILIES
from backends.miniatures.world.adherence import judge
from backends.miniatures.world.recognition import recognize
from backends.miniatures.world.scene import Scene, Thing
from compare.catalogue.catalogue import load

pytest.importorskip("torch", reason='The miniatures draw: pip install -e ".[local]".')

ASKED = Scene(
    "white",
    (Thing("star", "red", "medium", 36, 64, 18.5), Thing("ring", "blue", "medium", 92, 64, 18.5)),
    relation="left of",
)


@pytest.mark.slow
def test_all_five_draw_the_prompt_of_the_first_page(home: Path) -> None:
    models = [part for name in FAMILIES for part in ("-m", f"miniature/{name}")]
    command = [sys.executable, "-m", "compare", "run", EXAMPLE, *models, "--count", "2"]
    told = subprocess.run(
        [*command, "--seed", "1", "--json"], capture_output=True, text=True, timeout=240
    )
    assert told.returncode == 0, told.stderr
    talk = ("Warning", "deprecated", "generation flags")  # what libraries tell programmers
    assert not any(each in told.stderr for each in talk), told.stderr
    jobs = json.loads(told.stdout)["jobs"]
    assert [job["model"] for job in jobs] == [f"miniature/{name}" for name in FAMILIES]
    for job in jobs:
        assert job["outcome"] == "done", job["message"]
        views = [recognize(Image.open(each["path"])) for each in job["pictures"]]
        assert len(views) == 2
        verdicts = [judge(view, ASKED) for view in views]
        assert any(each.two_objects for each in verdicts), job["model"]


def test_the_catalogue_lists_them_side_by_side() -> None:
    families = {load().find(f"miniature/{name}").family for name in FAMILIES}
    assert len(families) == len(FAMILIES)
