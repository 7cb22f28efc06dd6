"""Arguments that several commands take, and what they become."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from iasfs.read.image import Image

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class ImageSource:
    """Where an image is."""

    name: str
    ias: str | None
    devices: tuple[str, ...]
    storage_options: dict[str, Any]

    def open(self, *, lenient: bool = False) -> Image:
        """Open it; ``lenient`` as :func:`iasfs.open` has it."""
        import iasfs

        if self.ias is None:
            return iasfs.open(
                self.name,
                devices=self.devices,
                storage_options=self.storage_options,
                lenient=lenient,
            )
        if self.devices:
            raise click.UsageError("--device and --ias exclude each other")
        ias = iasfs.IAS(self.ias, storage_options=self.storage_options)
        return ias.open_layer(parse_diff_id(self.name, "IMAGE"))


def parse_diff_id(text: str, hint: str | None = None) -> str:
    """``text``, if it is a diffID; ``hint`` names the argument where click does not know it."""
    from iasfs.ias.layout import parse_digest

    try:
        parse_digest(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=hint) from None
    return text


def image_argument(command: Callable[Concatenate[ImageSource, P], T]) -> Callable[..., T]:
    """Give a command the argument IMAGE, and the options that say where that is."""

    @click.argument("image")
    @click.option("--ias", metavar="IAS", help="Take IMAGE for the diffID of a layer in this IAS.")
    @click.option(
        "--device",
        "devices",
        metavar="BLOB",
        multiple=True,
        help="An extra device that the image names, in its order.",
    )
    @storage_option
    @functools.wraps(command)
    def run(
        image: str,
        ias: str | None,
        devices: tuple[str, ...],
        storage_options: dict[str, Any],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return command(ImageSource(image, ias, devices, storage_options), *args, **kwargs)

    return run


def _storage_options(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    """``key=value``, the value as JSON if it is JSON; or several options as one JSON object.

    No message repeats a value: it may be a secret.
    """
    options: dict[str, Any] = {}
    for text in texts:
        if text.startswith("{"):
            try:
                options.update(json.loads(text))
            except ValueError as error:
                raise click.BadParameter(f"not JSON: {error}") from None
            continue
        key, is_pair, value = text.partition("=")
        if not (key and is_pair):
            raise click.BadParameter("neither KEY=VALUE nor a JSON object")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


storage_option = click.option(
    "--storage-option",
    "storage_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_storage_options,
    help="An option for the fsspec file system of a URL; may be given several times.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def _size(text: str) -> int:
    """A number of bytes, as ``65536`` or ``64K``."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text} is not a size such as 65536 or 64K")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


_BUILD_OPTIONS = {
    "compression": click.option(
        "--compression", help="zstd, deflate, lz4 or none.  [default: the best there is]"
    ),
    "level": click.option("--level", type=int, help="Of the codec."),
    "min_kernel": click.option(
        "--min-kernel", metavar="VERSION", help="The oldest Linux that shall mount it."
    ),
    "order": click.option(
        "--order", metavar="FILE", help="Paths, one a line, whose data goes first; - is stdin."
    ),
    "mtime": click.option("--mtime", type=int, metavar="SECONDS", help="The mtime of every file."),
    "volume_name": click.option("--volume-name", metavar="NAME", help="A label of up to 15 bytes."),
    "uuid": click.option("--uuid", type=click.UUID, help="[default: derived from the content]"),
    "workers": click.option(
        "--workers", type=int, help="Threads that compress.  [default: all cores]"
    ),
    "extent_size": click.option(
        "--extent-size", type=_size, metavar="SIZE", help="File data in one pcluster."
    ),
    "pack_extent_size": click.option(
        "--pack-extent-size", type=_size, metavar="SIZE", help="The same, of packed small files."
    ),
    "pack_limit": click.option(
        "--pack-limit", type=_size, metavar="SIZE", help="Below this size files are packed."
    ),
    "whiteouts": click.option(
        "--whiteouts",
        type=click.Choice(["keep", "overlay"]),
        help="overlay: whiteouts of OCI layers become those of overlayfs.",
    ),
}


def build_options(command: Callable[Concatenate[dict[str, Any], P], T]) -> Callable[..., T]:
    """Give a command the options of :func:`iasfs.mkfs`; it gets those that were given."""

    @functools.wraps(command)
    def run(*args: P.args, **given: P.kwargs) -> T:
        options: dict[str, Any] = {name: given.pop(name) for name in _BUILD_OPTIONS}
        options = {name: value for name, value in options.items() if value is not None}
        if "order" in options:
            options["order"] = _read_order(options["order"])
        if "uuid" in options:
            options["uuid"] = options["uuid"].bytes
        return command(options, *args, **given)

    for option in reversed(_BUILD_OPTIONS.values()):
        run = option(run)
    return run


def _read_order(name: str) -> list[bytes]:
    """The lines of a file, which are paths of any bytes."""
    with click.open_file(name, "rb") as file:
        return [line for line in file.read().split(b"\n") if line]
