"""The Colab notebook, run cell by cell as a visitor would, but for the cell that shares a link."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "colab.ipynb"


def tags(cell: Any) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))


@pytest.mark.slow
def test_the_colab_notebook_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason='The notebook draws: pip install -e ".[local,test]".')
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
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
