"""The quickstart notebook runs as it stands."""

from pathlib import Path

import nbformat
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def test_the_notebook_runs_and_says_what_it_shows(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stdout"
    )
    assert "50 real images of the classes\nzero one" in printed
    assert "100 synthetic images" in printed
    assert "with-synthetic: " in printed
