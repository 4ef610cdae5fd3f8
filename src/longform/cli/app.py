"""The verbs under one command, and what becomes of errors and signals."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from longform import __version__
from longform.cli.add_label import add_label
from longform.cli.bakeoff import bakeoff
from longform.cli.bench import bench
from longform.cli.calibrate import calibrate
from longform.cli.cascade import cascade
from longform.cli.demo import demo
from longform.cli.distill import distill
from longform.cli.doctor import doctor
from longform.cli.environment import environment
from longform.cli.evaluate import evaluate
from longform.cli.explain import explain
from longform.cli.export import export
from longform.cli.inspect import inspect
from longform.cli.key import key
from longform.cli.predict import predict
from longform.cli.pretrain import SeveralFilesCommand, pretrain
from longform.cli.prune import prune
from longform.cli.search import search
from longform.cli.select import select
from longform.cli.selftest import selftest
from longform.cli.serve import serve
from longform.cli.train import train
from longform.errors import LongformError

app = typer.Typer(
    name="longform",
    help="Train, export and serve classifiers of long documents. Every token counts, or the "
    "answer says which did not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    doctor,
    train,
    distill,
    search,
    bakeoff,
    prune,
    cascade,
    export,
    calibrate,
    evaluate,
    bench,
    predict,
    explain,
    select,
    inspect,
    serve,
    key,
    selftest,
    demo,
):
    app.command()(verb)
app.command(cls=SeveralFilesCommand)(pretrain)
app.command(name="env")(environment)
app.command(name="add-label")(add_label)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error; works after a verb too."),
    ] = False,
) -> None:
    """Train, export and serve classifiers of long documents.

    Every token counts, or the answer says which did not.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None takes those of the process.

    Returns:
        The exit status: 0 fine, 1 the job failed, 2 bad usage or input, 3 refused by a gate, 130
        and 143 on signals.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or bool(os.environ.get("LONGFORM_DEBUG"))
    given = [argument for argument in given if argument != "--debug"]
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        app(args=given, prog_name="longform")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except LongformError as error:
        if debug:
            raise
        typer.echo(f"longform: {error}", err=True)
        return error.exit_status
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does: nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # A second signal stops at once, whatever is being tidied up.
    signal.signal(number, signal.SIG_DFL)
    typer.echo(f"\nStopped by {signal.Signals(number).name}.", err=True)
    raise SystemExit(128 + number)
