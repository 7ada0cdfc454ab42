"""The notebooks, run cell by cell as a visitor would, but for the cell that shares a link.

Kernels compute with one thread, which is faster for models this small than several that wait for
each other, and with NOTEBOOK_QUICK=1 the notebook about the families samples in few steps.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from backends.paths import PROJECT

FOLDER = PROJECT / "notebooks"
NOTEBOOK = FOLDER / "colab.ipynb"
FAMILIES = FOLDER / "how_the_families_work.ipynb"


def tags(cell: Any) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))


@pytest.fixture(autouse=True)
def kernel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the kernels inherit."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NOTEBOOK_QUICK", "1")
    # The cell that installs resolves against what is installed, offline, and changes nothing.
    monkeypatch.setenv("PIP_DRY_RUN", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")


@pytest.mark.slow
def test_the_colab_notebook_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason='The notebook draws: pip install -e ".[local,test]".')
    monkeypatch.setenv("LINEUP_HOME", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "share" not in tags(cell)]
    client = NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": NOTEBOOK.parent}},
    )
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "miniature/diffusion    done" in printed
    assert "miniature/masked       done" in printed


def test_only_the_last_cell_shares_and_it_opens_the_app() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shared = [cell for cell in notebook.cells if "share" in tags(cell)]
    assert [cell.source.strip() for cell in shared] == ["!python app.py --share"]
    assert notebook.cells[-1] == shared[0]


@pytest.mark.slow
def test_the_notebook_about_the_families_runs_offline() -> None:
    pytest.importorskip("torch", reason='The notebook draws: pip install -e ".[local,test]".')
    notebook = nbformat.read(FAMILIES, as_version=4)
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert html.count("<img") > 80  # every family step by step, and what is inside
    printed = "".join(output.get("text", "") for output in outputs)
    assert "7 of 7 pictures find their own sentence" in printed
    assert "24 times fewer numbers" in printed
    assert "times a token that was there already became another one" in printed


def test_every_section_about_the_families_names_its_papers() -> None:
    notebook = nbformat.read(FAMILIES, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    numbered = {section.partition(".")[0]: section for section in sections}
    assert len(numbered) == 10
    for number in ("2", "3", "4", "5", "6", "7", "8", "9"):  # the first is the world, the last ends
        assert re.search(r"arxiv\.org/abs/\d{4}\.\d{4,5}", numbered[number]), number


def test_the_notebooks_are_kept_without_outputs() -> None:
    for path in FOLDER.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs") and not cell.get("execution_count"), path.name
