"""A file written in one go is there completely, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashmd_rs.writers.atomic_write import atomic_write


def test_what_fails_in_between_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("before")

    def write(text: str, broken: bool) -> None:
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", broken=True)
    assert path.read_text() == "before"
    write("after", broken=False)
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]
    with (
        pytest.raises(FileNotFoundError, match=r"no folder .*missing for kept\.txt"),
        atomic_write(tmp_path / "missing" / path.name),
    ):
        pass
