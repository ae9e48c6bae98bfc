"""The metadata of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_licence_is_named_and_goes_along() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    (place,) = project["license-files"]
    assert "Apache License" in (ROOT / place).read_text()
    # PEP 639: a licence expression excludes licence classifiers.
    assert not [each for each in project["classifiers"] if each.startswith("License")]
    assert "Apache-2.0" in (ROOT / "README.md").read_text()
