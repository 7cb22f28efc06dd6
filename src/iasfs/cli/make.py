"""mkfs, extract, publish, layers: images made, unpacked and stored."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import click

from iasfs.cli import exits
from iasfs.cli.arguments import (
    ImageSource,
    build_options,
    image_argument,
    json_option,
    parse_diff_id,
    storage_option,
)
from iasfs.cli.output import Output, printable, progress
from iasfs.errors import IasfsError


@click.command()
@click.argument("source")
@click.argument("target")
@build_options
@json_option
def mkfs(options: dict[str, Any], source: str, target: str, as_json: bool) -> None:
    """Make an image of a directory or a tar.

    SOURCE is a directory, or a tar, plain or compressed: a path, a URL that fsspec knows, or -
    for standard input.  TARGET is a path, or - for standard output; then --json goes to standard
    error.
    """
    import iasfs

    with progress("mkfs", "bytes") as report:
        made = iasfs.mkfs(_input(source), _target(target), progress=report, **options)
    if as_json:
        Output(err=target == "-").json(made._asdict())


def _input(name: str) -> str | BinaryIO:
    return sys.stdin.buffer if name == "-" else name


def _target(name: str) -> str | BinaryIO:
    if name != "-":
        return name
    if sys.stdout.isatty():
        raise click.UsageError("An image is nothing for a terminal.")
    return sys.stdout.buffer


@click.command()
@image_argument
@click.argument("target")
@click.option("--path", default="/", help="What to extract.  [default: everything]")
@click.option(
    "--same-owner/--no-same-owner",
    default=None,
    help="Restore owners.  [default: if root runs this]",
)
@click.option("--overwrite", is_flag=True, help="Replace what is in TARGET already.")
@click.option("--keep-going", is_flag=True, help="Go on after errors.")
@json_option
def extract(
    source: ImageSource,
    target: str,
    path: str,
    same_owner: bool | None,
    overwrite: bool,
    keep_going: bool,
    as_json: bool,
) -> int:
    """Write files of an image to the directory TARGET.

    Without --keep-going the first error ends it; with it, the exit code is that of the first
    error.  What may not be restored without being root is said and left out.
    """
    import os

    from iasfs.read.extract import extract as extract_files

    codes: list[int] = []

    def on_error(error: OSError | IasfsError) -> None:
        codes.append(exits.report(error))

    def on_skip(where: str, what: str) -> None:
        click.echo(f"iasfs: {printable(where)}: left out: {printable(what)}", err=True)

    with source.open() as image, progress("extract", "files") as report:
        done = extract_files(
            image,
            target,
            os.fsencode(path),
            same_owner=same_owner,
            overwrite=overwrite,
            on_error=on_error if keep_going else None,
            on_skip=on_skip,
            progress=report,
        )
    if as_json:
        Output().json(done._asdict())
    return codes[0] if codes else 0


@click.command()
@click.argument("source")
@click.argument("ias")
@click.option(
    "--diff-id",
    type=parse_diff_id,
    metavar="DIFFID",
    help="What the diffID must be; a layer that is there is not read again.",
)
@build_options
@storage_option
@json_option
def publish(
    options: dict[str, Any],
    source: str,
    ias: str,
    diff_id: str | None,
    storage_options: dict[str, Any],
    as_json: bool,
) -> None:
    """Publish a layer in an Image Attach Storage and print its diffID.

    SOURCE is a tar as for mkfs, IAS a directory or a URL that fsspec knows.  A layer that is
    there already stays as it is.
    """
    import iasfs

    with progress("publish", "bytes") as report:
        layer = iasfs.IAS(ias, storage_options=storage_options).publish_layer(
            _input(source), diff_id=diff_id, progress=report, **options
        )
    output = Output()
    if as_json:
        output.json(layer._asdict())
    else:
        output.line(layer.diff_id)


@click.command()
@click.argument("ias")
@storage_option
@json_option
def layers(ias: str, storage_options: dict[str, Any], as_json: bool) -> None:
    """List the layers in an Image Attach Storage by their diffIDs."""
    import iasfs

    output = Output()
    for layer in iasfs.IAS(ias, storage_options=storage_options).layers():
        if as_json:
            output.json(layer._asdict())
        else:
            output.line(layer.diff_id)
