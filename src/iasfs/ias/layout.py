"""What is called what inside an Image Attach Storage, and what a layer says of itself (pure).

::

    ias.json                                  what this is, and the version of the layout
    layers/sha256/<aa>/<hex>/layer.erofs      the image
    layers/sha256/<aa>/<hex>/layer.json       its descriptor: there is a layer where this is

``<hex>`` is the layer's diffID, the SHA-256 of the uncompressed tar, and ``<aa>`` its first two
digits.  A name is relative to the root of the storage and is parted by slashes, whatever the
place below makes of it; none leads out of the root.

The descriptor is one of OCI: media type, digest and size of the image's bytes, and annotations,
whose values are strings, for the rest.  Whoever reads one passes over what it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from iasfs.errors import FormatError, UnsupportedFeature

VERSION = 1
"""Of the layout and of the descriptor."""
ROOT = "ias.json"
LAYERS = "layers"
IMAGE = "layer.erofs"
DESCRIPTOR = "layer.json"
"""Written last: the commit mark."""
DESCRIPTOR_MAX = 1 << 16
"""Bytes that a descriptor, or ``ias.json``, may have."""
MEDIA_TYPE = "application/vnd.erofs.layer.v1"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_DIRECTORY = re.compile(LAYERS + r"/sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})/", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)
_DIFF_ID = "iasfs.diff_id"
_VERSION = "iasfs.version"


def parse_digest(text: str) -> str:
    """The hex digits of ``sha256:<64 hex digits>``; ``ValueError`` if it is anything else."""
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not sha256: and 64 lower-case hex digits")
    return match[1]


def format_digest(hex_digits: str) -> str:
    """The digest, or diffID, with these hex digits."""
    digest = f"sha256:{hex_digits}"
    parse_digest(digest)
    return digest


def layer_directory(diff_id: str) -> str:
    """Where a layer lies; ``ValueError`` for what is no diffID."""
    hex_digits = parse_digest(diff_id)
    return f"{LAYERS}/sha256/{hex_digits[:2]}/{hex_digits}"


def image_name(diff_id: str) -> str:
    """The name of a layer's image."""
    return f"{layer_directory(diff_id)}/{IMAGE}"


def descriptor_name(diff_id: str) -> str:
    """The name of a layer's descriptor."""
    return f"{layer_directory(diff_id)}/{DESCRIPTOR}"


def diff_id_of(name: str) -> str | None:
    """The layer whose descriptor has this name; ``None`` if it is none's."""
    match = _DIRECTORY.match(name)
    if match is None or name[match.end() :] != DESCRIPTOR:
        return None
    return format_digest(match[2])


def check_name(name: str) -> str:
    """``name``, if it is one that a storage may be asked for; ``ValueError`` if it is not."""
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name!r} cannot be a name in an Image Attach Storage")
    return name


class Layer(NamedTuple):
    """A layer in an Image Attach Storage.  Sizes in bytes."""

    diff_id: str
    """``sha256:...`` of the uncompressed tar, by which the layer is found."""
    size: int
    """Of the image."""
    digest: str
    """``sha256:...`` of the image's bytes."""
    metadata_size: int
    """Of the zone at the front of the image that holds everything but file contents."""
    inodes: int


def pack_layer(layer: Layer) -> bytes:
    """The descriptor of a layer."""
    annotations = {
        _DIFF_ID: layer.diff_id,
        "iasfs.inodes": str(layer.inodes),
        "iasfs.metadata_size": str(layer.metadata_size),
        _VERSION: str(VERSION),
    }
    return _pack(
        {
            "mediaType": MEDIA_TYPE,
            "digest": layer.digest,
            "size": layer.size,
            "annotations": annotations,
        }
    )


def unpack_layer(data: bytes, diff_id: str) -> Layer:
    """The layer that a descriptor, found under ``diff_id``, describes.

    Raises :class:`~iasfs.errors.FormatError` if it is damaged or speaks of another layer, and
    :class:`~iasfs.errors.UnsupportedFeature` for another version.
    """
    descriptor = _unpack(data)
    annotations = descriptor.get("annotations")
    if not isinstance(annotations, dict):
        raise FormatError("a layer descriptor without annotations")
    _check_version(annotations.get(_VERSION), "layer descriptor")
    if descriptor.get("mediaType") != MEDIA_TYPE:
        raise UnsupportedFeature(f"a layer of media type {descriptor.get('mediaType')!r:.80}")
    if annotations.get(_DIFF_ID) != diff_id:
        raise FormatError(f"the descriptor of {annotations.get(_DIFF_ID)!r:.80}, not of {diff_id}")
    try:
        digest = descriptor["digest"]
        parse_digest(digest)
        layer = Layer(
            diff_id=diff_id,
            size=_size(descriptor["size"]),
            digest=digest,
            metadata_size=_size(annotations["iasfs.metadata_size"]),
            inodes=_size(annotations["iasfs.inodes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"a damaged layer descriptor: {error}") from error
    if layer.metadata_size > layer.size:
        raise FormatError("a damaged layer descriptor: more metadata than image")
    return layer


def pack_root() -> bytes:
    """What stands in ``ias.json``."""
    return _pack({"what": "Image Attach Storage", "version": str(VERSION)})


def check_root(data: bytes) -> None:
    """Raise if an ``ias.json`` is of another version, or damaged."""
    _check_version(_unpack(data).get("version"), "Image Attach Storage")


def _check_version(version: object, what: str) -> None:
    if version != str(VERSION):
        raise UnsupportedFeature(f"{what} of version {version!r:.20}")


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r:.80} is not a number")
    number = int(value)
    if str(number) != str(value) or not 0 <= number < 1 << 63:
        raise ValueError(f"{value!r:.80} is no size")
    return number


def _pack(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _unpack(data: bytes) -> dict[str, Any]:
    if len(data) > DESCRIPTOR_MAX:
        raise FormatError(f"JSON of more than {DESCRIPTOR_MAX} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError("not a JSON object")
    return value
