from __future__ import annotations

from pathlib import Path

import pytest
from consoles import EVALUATIONS


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command line work in a folder of the test's own, in which it makes its storage."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file with evaluations."""
    path = tmp_path / "checks.py"
    path.write_text(EVALUATIONS)
    return path
