"""Control groups by path and by unit, in directories that stand for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaper.errors import InvalidValue
from shaper.kernel import cgroup


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory in the place of the mount."""
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/b", "a/b"),
        ("/a/b", "a/b"),
        ("backup.service", "system.slice/backup.service"),
        ("job@1.service", "system.slice/system-job.slice/job@1.service"),
        ("foo-bar@1.service", r"system.slice/system-foo\x2dbar.slice/foo-bar@1.service"),
        (r"a\x2db@1.service", r"system.slice/system-a\x5cx2db.slice/a\x2db@1.service"),
        ("srv-data.mount", "system.slice/srv-data.mount"),
        ("x.socket", "system.slice/x.socket"),
        ("swap.swap", "system.slice/swap.swap"),
        ("//a", "a"),
        ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
        ("user.slice", "user.slice"),
        ("app.service", "user.slice/user-1000.slice/user@1000.service/app.slice/app.service"),
    ],
)
def test_a_group_is_found_where_it_is(root: Path, text: str, place: str) -> None:
    """None while there is none; a new one of that name is another one."""
    assert cgroup.find(text, lambda: root) is None
    if not place.startswith("user.slice/"):
        assert cgroup.usual_place(text, lambda: root) == str(root / place)
    (root / place).mkdir(parents=True)
    found = cgroup.find(text, lambda: root)
    assert found is not None
    assert found.path == str(root / place)
    assert found.inode == (root / place).stat().st_ino
    assert cgroup.check(text, lambda: root) == text.strip("/")


NO_GROUPS = ["/", "//", "", "-.slice", "../x", "a/../../x", "a\nb", "x" * 256, "procs", "//tmp"]
NO_SLICES = ["a--b.slice", "-a.slice", "a-.slice", ".slice"]


@pytest.mark.parametrize("text", NO_GROUPS + NO_SLICES)
def test_what_can_be_no_group_is_refused(root: Path, text: str) -> None:
    """All of them, one outside, a name that none can have, a file, no slice, one elsewhere."""
    (root / "procs").write_text("")
    with pytest.raises(InvalidValue, match="cgroup"):
        cgroup.check(text, lambda: root)


def test_a_file_elsewhere_is_refused(root: Path) -> None:
    """A path that is written in full and leads to something, but not below the mount."""
    with pytest.raises(InvalidValue, match="is no directory of"):
        cgroup.check("/etc/passwd", lambda: root)


def test_the_directory_tells_of_a_group(root: Path) -> None:
    """When it is made, and when it is removed."""
    watch = cgroup.Watch(lambda: root)
    try:
        watch.add("a")
        for change in (Path.mkdir, Path.rmdir):
            watch.clear()
            change(root / "a")
            assert _has_events(watch)
    finally:
        watch.close()


def _has_events(watch: cgroup.Watch) -> bool:
    import select

    return bool(select.select([watch.fileno()], [], [], 0)[0])
