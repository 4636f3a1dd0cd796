"""The program as it is installed, its help, and docs/cli.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from console.main import COMMANDS
from console.page import GROUPS, PAGE, help_of, page
from rollout.model import Verb

ROOT = Path(__file__).resolve().parents[2]
ALL = [(), *((name,) for name in COMMANDS), *GROUPS]


def test_the_page_is_the_help_of_all_commands() -> None:
    assert PAGE.read_text() == page(), "run make schema"


def test_every_command_of_the_spec_is_one_of_the_program() -> None:
    assert set(get_args(Verb)) <= set(COMMANDS)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_fits_80_columns_and_has_an_example(words: tuple[str, ...]) -> None:
    text = help_of(*words)
    assert all(len(line) <= 80 for line in text.splitlines())
    if words not in (("quarantine",), ("policy",)):
        assert f"\n    {' '.join(('slipway', *words))}" in text.partition("Example:")[2]


def test_the_program_runs_without_colour_on_a_dumb_terminal() -> None:
    environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1", "GOOGLE_CLOUD_PROJECT": "a/b"}
    command = [sys.executable, "-m", "console", "status", "tiny", "--project", "A B"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr == "slipway: --project: must be a project id such as my-project-1, got 'A B'\n"
    )


def test_ctrl_c_while_the_program_is_imported_is_one_line() -> None:
    code = """
import signal, sys
class Presses:
    def find_spec(self, name, *rest):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Presses())
from console.__main__ import run
run()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "slipway: stopped\n")
