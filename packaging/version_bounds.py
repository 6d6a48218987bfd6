"""Run tests with the lowest versions that pyproject.toml allows, and with the newest there are.

`python packaging/version_bounds.py [TEST...]` makes an environment for each in build/bounds and
runs pytest in it, on tests/unit unless told otherwise. The lowest version is what `>=` says.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "build/bounds"
NOT_RUN = ("build", "mypy", "ruff")  # tools that no test imports


def main(tests: list[str]) -> int:
    """Try both; return the number of those that failed."""
    stated = requirements()
    wanted = {"lowest": [each.replace(">=", "==") for each in stated], "newest": stated}
    return sum(not passes(name, needs, tests) for name, needs in wanted.items())


def requirements() -> list[str]:
    """Return what is needed to run the tests; where a name is given twice, the higher bound."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    by_name = {each.partition(">=")[0]: each for each in stated}
    return [each for name, each in sorted(by_name.items()) if name not in NOT_RUN]


def passes(name: str, needs: list[str], tests: list[str]) -> bool:
    """Make an environment with these and run the tests in it."""
    home = FOLDER / name
    python = str(home / "bin/python")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", *needs], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(CHECKOUT)], check=True)
    print(f"{name}: {' '.join(needs)}", flush=True)
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(tests or ["tests/unit"])]
    return subprocess.run(pytest, check=False, cwd=CHECKOUT).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
