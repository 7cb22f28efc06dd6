"""fsck, dump: look at the format of an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from iasfs import paths
from iasfs.cli import exits
from iasfs.cli.arguments import ImageSource, image_argument, json_option
from iasfs.cli.output import Output, printable, text_members
from iasfs.errors import FormatError

if TYPE_CHECKING:
    from iasfs.cli.files import File
    from iasfs.read.image import Image


@click.command()
@image_argument
@click.option("--no-contents", is_flag=True, help="Do not decode file contents.")
@json_option
def fsck(source: ImageSource, no_contents: bool, as_json: bool) -> int:
    """Check an image and print its problems.

    There is one problem a line.  Exit code 1 says that there are some, 0 that there are none.
    """
    import iasfs

    output = Output()
    code = 0

    def say(problem: iasfs.Problem) -> None:
        nonlocal code
        code = exits.PROBLEMS
        if as_json:
            path = text_members("path", paths.encode(problem.path))
            output.json({**problem._asdict(), **path, "what": printable(problem.what)})
        else:
            output.line(printable(str(problem)))

    try:
        with source.open(lenient=True) as image:
            for problem in iasfs.fsck(image, contents=not no_contents):
                say(problem)
    except FormatError as error:  # so wrong that it cannot be opened
        say(iasfs.Problem("", error.nid, error.offset, error.what))
    return code


@click.command()
@image_argument
@click.argument("path", required=False)
@json_option
def dump(source: ImageSource, path: str | None, as_json: bool) -> None:
    """Describe an image, or one file of it, in the words of the format."""
    import iasfs
    from iasfs.cli.files import find

    with source.open() as image:
        output = Output()
        if not as_json:
            raw = None if path is None else os.fsencode(path)
            output.data(iasfs.dump(image, raw).encode())
        elif path is None:
            output.json(_image_record(image))
        else:
            output.json(_file_record(find(image, path, follow_symlinks=False)))


def _image_record(image: Image) -> dict[str, Any]:
    """The superblock, field by field, and what the fields mean together."""
    from uuid import UUID

    block = image.superblock
    return {
        **block._asdict(),
        "uuid": str(UUID(bytes=block.uuid)),
        **text_members("volume_name", block.volume_name),
        "block_size": block.block_size,
        "features": list(block.features),
        "image_size": image.size,
    }


def _file_record(file: File) -> dict[str, Any]:
    """The inode, its extended attributes, and where its data is."""
    from iasfs.format.table import Kind

    inode = file.inode
    try:
        extents = [
            {**extent._asdict(), "kind": Kind(extent.kind).name.lower()}
            for extent in file.image.volume.extents(inode)
        ]
    except FormatError as error:
        raise error.at(paths.decode(file.path)) from None
    return {
        **file.record(),
        "inode_offset": inode.offset,
        "extended": inode.extended,
        "layout": inode.layout,
        "xattrs": file.xattr_records(),
        "extents": extents,
    }
