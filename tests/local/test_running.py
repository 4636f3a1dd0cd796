"""The file that says where a local stack runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from local.running import RunningStack, announced, file_of, find

STACK = RunningStack(7, {"GOOGLE_CLOUD_PROJECT": "demo"}, "127.0.0.1:8085")
ROOT = Path(__file__).resolve().parents[2]
CRASH = """
import os, sys
from pathlib import Path
from local.running import RunningStack, announced
with announced(Path(sys.argv[1]), RunningStack(7, {}, "")) as is_first:
    print(is_first, flush=True)
    os._exit(1)
"""


def test_a_stack_is_found_while_it_is_announced(tmp_path: Path) -> None:
    file = file_of({"XDG_STATE_HOME": str(tmp_path)})
    assert find(file) is None
    with announced(file, STACK) as is_first:
        assert is_first
        assert find(file) == STACK
        assert file.stat().st_mode & 0o077 == 0, "only its user may read it"
    assert find(file) is None


def test_the_first_of_two_stacks_stays_announced(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    with announced(file, STACK):
        with announced(file, RunningStack(8, {}, "")) as is_first:
            assert not is_first
        assert find(file) == STACK


def test_a_stack_that_was_killed_is_not_found(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    command = [sys.executable, "-c", CRASH, str(file)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert killed.stdout == "True\n"
    assert '"pid": 7' in file.read_text()
    assert find(file) is None
    with announced(file, STACK) as is_first:
        assert is_first


def test_a_damaged_file_announces_nothing(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    with announced(file, STACK):
        for text in ("", "[]", "{}", '{"pid": 1, "other": 2}', "\x00\xff"):
            file.write_text(text)
            assert find(file) is None


def test_a_file_that_cannot_be_written_announces_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with announced(tmp_path / "file/stack.json", STACK) as is_first:
        assert not is_first
