"""The command line: arguments become a call of the library, its result an exit code.

A command is thin.  It takes arguments (:mod:`~iasfs.cli.arguments`), makes one call and prints
what came back: lines for a person, or with ``--json`` one object a line for a program
(:mod:`~iasfs.cli.output`).  What a command prints goes to standard output, progress and errors
to standard error.

An error that can be expected is one line, ``iasfs: ...``, and an exit code by which a script can
tell what it was (:mod:`~iasfs.cli.exits`); any other is a bug and leaves a traceback.

``iasfs ls`` shall be there at once, so whatever not every command needs is imported by the
function that does.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from iasfs.cli import exits, inspect, make, show
from iasfs.cli.exits import exit_code

__all__ = ["exit_code", "main"]


class _Commands(click.Group):
    """A group of commands that ends with our exit codes instead of click's."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except exits.EXPECTED as error:
            code = exits.report(error)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Who read our output has seen enough.  (click would exit with 1.)
            exits.silence_output()
            code = exit_code(error)
        return code


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"iasfs {version('iasfs')}")
    except PackageNotFoundError:
        click.echo("iasfs, not installed")
    context.exit()


@click.group(cls=_Commands, no_args_is_help=False)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def main() -> None:
    """Make EROFS images of container layers, and read them where they lie.

    IMAGE is a local path or any URL that fsspec knows; with --ias it is the diffID of a layer
    in that Image Attach Storage.
    """


for _command in (
    make.mkfs,
    show.ls,
    show.cat,
    show.stat,
    show.tree,
    make.extract,
    inspect.fsck,
    inspect.dump,
    make.publish,
    make.layers,
):
    main.add_command(_command)
