"""ls, cat, stat, tree: look at the files of an image."""

from __future__ import annotations

import stat as modes
from collections.abc import Iterator

import click

from iasfs.cli.arguments import ImageSource, image_argument, json_option
from iasfs.cli.files import File, Walk, find, time_text
from iasfs.cli.output import Output, printable

_CAT_SIZE = 4 << 20
"""Bytes that ``cat`` has in memory."""


@click.command()
@image_argument
@click.argument("paths", nargs=-1)
@click.option("-l", "long", is_flag=True, help="Mode, links, owner, size and mtime (UTC) too.")
@click.option("-R", "--recursive", is_flag=True, help="Go into directories.")
@json_option
def ls(
    source: ImageSource, paths: tuple[str, ...], long: bool, recursive: bool, as_json: bool
) -> None:
    """List files, and what is in directories.

    PATHS are / unless given.  All names are listed, in byte order.
    """
    with source.open() as image:
        output = Output()
        headed = recursive or len(paths) > 1
        first = True
        for path in paths or ("/",):
            for directory, files in _listings(find(image, path), recursive):
                if headed and directory is not None and not as_json:
                    output.line(*([] if first else ["\n"]), output.name(directory.path), ":")
                first = False
                _print_files(output, files, long, as_json)


def _listings(top: File, recursive: bool) -> Iterator[tuple[File | None, list[File]]]:
    """Directories with what is in them; what is no directory stands for itself, under none."""
    if not top.inode.is_dir:
        yield None, [top]
        return
    walk = Walk()
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        files = list(walk.enter(directory))
        yield directory, files
        if recursive:
            waiting.extend(file for file in reversed(files) if file.inode.is_dir)


def _print_files(output: Output, files: list[File], long: bool, as_json: bool) -> None:
    if as_json:
        for file in files:
            output.json(file.record())
    elif not long:
        for file in files:
            output.line(output.name(file.name))
    else:
        rows = [_facts(file) for file in files]
        widths = [max(map(len, column)) for column in zip(*rows)]
        for file, row in zip(files, rows):
            facts = " ".join(fact.rjust(width) for fact, width in zip(row, widths))
            output.line(facts, " ", _arrow(output, file))


def _facts(file: File) -> tuple[str, ...]:
    """The columns of a long listing, but for the name."""
    inode = file.inode
    size = str(inode.size)
    if file.type_name in ("character", "block"):
        size = "{}, {}".format(*inode.device)
    numbers = str(inode.nlink), str(inode.uid), str(inode.gid), size
    return modes.filemode(inode.mode), *numbers, time_text(inode)


def _arrow(output: Output, file: File) -> bytes:
    """The name, and where it points to."""
    target = file.target
    name = output.name(file.name)
    return name if target is None else name + b" -> " + output.name(target)


@click.command()
@image_argument
@click.argument("paths", nargs=-1, required=True)
def cat(source: ImageSource, paths: tuple[str, ...]) -> None:
    """Print the contents of files."""
    with source.open() as image:
        output = Output()
        for path in paths:
            file = find(image, path)
            with image.open(file.path) as opened:
                while data := opened.read(_CAT_SIZE):
                    output.data(data)


@click.command()
@image_argument
@click.argument("paths", nargs=-1, required=True)
@click.option("-L", "--dereference", is_flag=True, help="Follow symbolic links.")
@json_option
def stat(source: ImageSource, paths: tuple[str, ...], dereference: bool, as_json: bool) -> None:
    """Print all that is known of files, but their contents."""
    with source.open() as image:
        output = Output()
        for path in paths:
            file = find(image, path, follow_symlinks=dereference)
            if as_json:
                blocks = image.stat_of(file.inode).st_blocks
                output.json({**file.record(), "blocks": blocks, "xattrs": file.xattr_records()})
            else:
                _print_stat(output, file)


def _print_stat(output: Output, file: File) -> None:
    inode = file.inode
    status = file.image.stat_of(inode)
    target = file.target
    arrow = b"" if target is None else b" -> " + output.name(target)
    output.line("  File: ", output.name(file.path), arrow)
    size = f"  Size: {inode.size:<15} Blocks: {status.st_blocks:<10} {file.type_name}"
    if file.type_name in ("character", "block"):
        size += " {}, {}".format(*inode.device)
    output.line(size)
    output.line(f" Inode: {inode.nid:<15} Links: {inode.nlink}")
    permissions = f"{modes.S_IMODE(inode.mode):04o}/{modes.filemode(inode.mode)}"
    output.line(f"Access: {permissions:<15} Uid: {inode.uid:<13} Gid: {inode.gid}")
    output.line(f"Modify: {time_text(inode, fraction=True)} +0000")
    for name, value in sorted(file.xattrs().items()):
        output.line(" Xattr: ", output.name(name), "=", _quoted(value))


def _quoted(value: bytes) -> str:
    """The value of an attribute: text if it is that, else hexadecimal."""
    text = value.decode(errors="replace").removesuffix("\0")
    return f'"{text}"' if text == printable(text) and "\ufffd" not in text else f"0x{value.hex()}"


@click.command()
@image_argument
@click.argument("path", default="/")
@click.option("-L", "--depth", type=click.IntRange(min=1), help="Go down so many levels only.")
@json_option
def tree(source: ImageSource, path: str, depth: int | None, as_json: bool) -> None:
    """Draw a directory and all that is below it."""
    with source.open() as image:
        output = Output()
        top = find(image, path)
        if as_json:
            for _, file in _tree(top, depth):
                output.json(file.record())
            return
        directories = others = 0
        for branch, file in _tree(top, depth):
            shown = output.name(file.path) if file is top else _arrow(output, file)
            output.line(branch, shown)
            directories += file.inode.is_dir
            others += not file.inode.is_dir
        output.line(f"\n{directories} directories, {others} other files")


def _tree(top: File, depth: int | None) -> Iterator[tuple[str, File]]:
    """Every file from ``top`` on, a directory before what is in it, each with its branch drawn."""
    yield "", top
    walk = Walk()
    levels: list[tuple[str, list[File]]] = []  # what is left to draw, last first, and its indent
    down: File | None = top if top.inode.is_dir else None
    indent = ""
    while down is not None or levels:
        if down is not None:
            levels.append((indent, list(walk.enter(down))[::-1]))
            down = None
        indent, files = levels[-1]
        if not files:
            levels.pop()
            continue
        file = files.pop()
        yield indent + ("├── " if files else "└── "), file
        if file.inode.is_dir and (depth is None or len(levels) < depth):
            indent += "│   " if files else "    "
            down = file
