"""Build wheel and sdist: `python packaging/distribution.py DIRECTORY`, the same bytes each time.

From a copy of what belongs in them, with the manual pages, the completions and the unit put into
`shaper/share`, where `shaperd --print-unit` finds them. Dates are SOURCE_DATE_EPOCH, or that of
the commit. The interpreter is one that has the project and `build` installed.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PARTS = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "shaper", "shapecfg")
SHIPPED = {  # from packaging to shaper/share
    "shaper.service": "systemd/shaper.service",
    "shaper-withdraw.service": "systemd/shaper-withdraw.service",
    "sysusers.conf": "sysusers.d/shaper.conf",
    "tmpfiles.conf": "tmpfiles.d/shaper.conf",
    "modules-load.conf": "modules-load.d/shaper.conf",
}
COMPLETIONS = {
    "bash": "bash-completion/completions/shapecfg",
    "zsh": "zsh/site-functions/_shapecfg",
    "fish": "fish/vendor_completions.d/shapecfg.fish",
}
COMPLETE = 'import sys; from shapecfg.cli import main; sys.argv[:] = ["shapecfg"]; main()'
OLDEST_S = 315_532_800  # 1980-01-01, before which a zip file knows no date


def main(target: Path) -> None:
    """Write both into the directory."""
    os.umask(0o022)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date_s()), "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory() as name:
        source, built = Path(name) / "source", Path(name) / "built"
        copy(source)
        add_share(source / "shaper/share", environment)
        settle(source, date_s())
        argv = [sys.executable, "-m", "build", "--sdist", "--wheel", "-o", str(built), str(source)]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(built.iterdir()):
            data = path.read_bytes()
            is_sdist = path.name.endswith(".tar.gz")
            (target / path.name).write_bytes(repack(data, date_s()) if is_sdist else data)
            print(f"built {target / path.name}")


def date_s() -> int:
    """Return the date of everything: the one asked for, that of the commit, or the oldest."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return max(int(given), OLDEST_S)
    argv = ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return OLDEST_S
    return int(done.stdout)


def copy(source: Path) -> None:
    """Copy what belongs in, and nothing stale."""
    source.mkdir()
    stale = shutil.ignore_patterns("__pycache__", "share")
    for part in PARTS:
        origin = CHECKOUT / part
        if origin.is_dir():
            shutil.copytree(origin, source / part, ignore=stale)
        else:
            shutil.copyfile(origin, source / part)


def add_share(share: Path, environment: dict[str, str]) -> None:
    """Put unit, its companions, manual pages and completions into the package."""
    for name, place in SHIPPED.items():
        (share / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / "packaging" / name, share / place)
    maker = CHECKOUT / "packaging/manual"
    subprocess.run(
        [sys.executable, "-B", str(maker), str(share / "man")], check=True, env=environment
    )
    for shell, place in COMPLETIONS.items():
        (share / place).parent.mkdir(parents=True, exist_ok=True)
        asked = {**environment, "_SHAPECFG_COMPLETE": f"{shell}_source"}
        argv = [sys.executable, "-B", "-c", COMPLETE]
        done = subprocess.run(argv, check=True, env=asked, stdout=subprocess.PIPE)
        (share / place).write_bytes(done.stdout)


def settle(tree: Path, time_s: int) -> None:
    """Give everything the same rights and the same date, whatever the checkout has."""
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (time_s, time_s))


def repack(data: bytes, time_s: int) -> bytes:
    """Return a .tar.gz with the same files, in order, and nothing of who built it and when."""
    unpacked, packed = io.BytesIO(), io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = time_s
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=time_s) as file:
        file.write(unpacked.getvalue())
    return packed.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
