"""The program `slipway`: its commands, its errors, its exit status.

Exit status: 0, 1 for an error, 2 for what was refused, differs or did not succeed, 130 after
Ctrl-C. Errors are one line on stderr, which names the option or field and what to do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import typer
from rich.console import Console

from console import policy as policy_commands
from console import read, send
from console.connect import Failure, connector
from console.dashboard.server import dashboard
from console.examine.command import doctor
from console.options import Program
from console.output import print_line
from console.plan import plan
from console.rehearse import rehearse
from console.stop import start, stop

ERROR, INTERRUPTED = 1, 130
TRACEBACK = "SLIPWAY_TRACEBACK"  # set to anything, shows where an unexpected error was raised
ABOUT = """Show and change what Slipway rolls out.

Reads the documents in Firestore and publishes releases and commands on Pub/Sub, of a project or of
a local stack that runs (make demo DEMO_ARGS="--keep").

\b
Exit status:
  0  done
  1  an error
  2  something was refused or did not succeed

\b
Example:
  slipway status
  slipway publish release.json --wait
"""

app = typer.Typer(
    name="slipway",
    help=ABOUT,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "status": read.status,
    "models": read.models,
    "history": read.history,
    "why": read.why,
    "events": read.events,
    "dashboard": dashboard,
    "doctor": doctor,
    "plan": plan,
    "rehearse": rehearse,
    "publish": send.publish,
    "pause": send.pause,
    "resume": send.resume,
    "approve": send.approve,
    "reject": send.reject,
    "promote": send.promote,
    "abort": send.abort,
    "rollback": send.rollback,
    "retry": send.retry,
    "retire": send.retire,
    "stop": stop,
    "start": start,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
quarantine = typer.Typer(
    help="Show the messages that were refused.", no_args_is_help=True, rich_markup_mode=None
)
quarantine.command("list")(read.quarantine_list)
quarantine.command("show")(read.quarantine_show)
app.add_typer(quarantine, name="quarantine")
policy = typer.Typer(
    help="Show and change what releases may do.", no_args_is_help=True, rich_markup_mode=None
)
policy.command("show")(policy_commands.show)
policy.command("check")(policy_commands.check)
policy.command("set")(policy_commands.set_)
policy.command("allow")(policy_commands.allow)
app.add_typer(policy, name="policy")


def main(arguments: Sequence[str] | None = None, program: Program | None = None) -> int:
    """Runs the program and returns its exit status."""
    program = program or Program(
        connector(os.environ), Console(highlight=False), Console(stderr=True, highlight=False)
    )
    try:
        status = typer.main.get_command(app).main(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="slipway",
            standalone_mode=False,
            obj=program,
        )
    except (Failure, typer.TyperException) as error:
        text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        print_line(program.notes, f"slipway: {text}", "red")
        return ERROR
    except typer.Abort:
        status = INTERRUPTED
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        what = f"{type(error).__name__}: {error}"
        why = "a document is damaged, or this is a defect of slipway"
        print_line(program.notes, f"slipway: {what}: {why}; {TRACEBACK}=1 shows where", "red")
        return ERROR
    if status == INTERRUPTED:
        print_line(program.notes, "slipway: stopped", "red")
    return int(status or 0)
