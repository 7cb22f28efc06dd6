"""Extents as values: where the bytes of a file are, and where they may be.

An :class:`Extent` says that ``size`` bytes of a file, from byte ``logical`` on, come from
``stored`` bytes at ``address``, and by which :class:`Kind` of decoding.  An
:class:`ExtentTable` holds those of one file, ascending and without a gap, as packed records of
40 bytes: a hostile image of one megabyte can make half a million of them.

A :class:`Geometry` is what has to be known of an image beyond the inode: which features it
declares and how long it and its extra devices are.  :func:`resolve` turns the address of an
extent into a place in one blob.

How layouts become extents is said in :mod:`~iasfs.format.extent`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from struct import Struct
from typing import NamedTuple, Self

from iasfs.errors import FormatError
from iasfs.format import disk
from iasfs.format.codec import Algorithm
from iasfs.format.superblock import Device, Superblock


class Kind(IntEnum):
    """How the stored bytes of an extent become bytes of the file."""

    LZ4 = Algorithm.LZ4
    LZMA = Algorithm.LZMA
    DEFLATE = Algorithm.DEFLATE
    ZSTD = Algorithm.ZSTD
    PLAIN = Algorithm.PLAIN
    """The first ``size`` of the stored bytes, as they are."""
    INTERLACED = Algorithm.INTERLACED
    """The stored bytes rotated so that byte x of the file is at ``x % block size`` of a block."""
    HOLE = 6
    """Zeros; nothing is stored, ``address`` and ``stored`` are 0."""
    FRAGMENT = 7
    """``size`` bytes at byte ``address`` of the packed inode's data; ``stored`` is ``size``."""


class Extent(NamedTuple):
    """A run of bytes of a file and where they are stored; offsets and sizes are in bytes."""

    logical: int
    """Where it begins in the file."""
    size: int
    """How long it is in the file."""
    address: int
    """Where its stored bytes begin on ``device``."""
    stored: int
    """How many bytes are stored."""
    kind: int
    """A :class:`Kind`, as a plain number."""
    device: int = 0
    """0, or the number of the extra device that the image names; see :func:`resolve`."""
    partial: bool = False
    """The stored bytes may decode to more than ``size`` bytes, of which the first count."""


RECORD = Struct("=QQQQHBBI")
"""One extent in a table, in native order (it never leaves the machine): logical, size, address,
stored, device, kind, flags, unused."""
FLAG_PARTIAL = 1


class ExtentTable:
    """The extents of one file: a sequence of :class:`Extent`, immutable."""

    __slots__ = ("_logical", "_records", "_words")

    def __init__(self, records: bytes = b"") -> None:
        """``records``: any number of :data:`RECORD`, sorted."""
        self._records = records
        # A record is five words, of which the first is the logical offset.
        self._words: Sequence[int] = memoryview(records).cast("Q") if records else ()
        self._logical = self._words[::5]

    @classmethod
    def of(cls, extents: Iterable[Extent]) -> Self:
        """The table of some extents, sorted and without a gap, as they are."""
        return cls(
            b"".join(
                RECORD.pack(*extent[:4], extent.device, extent.kind, extent.partial, 0)
                for extent in extents
            )
        )

    @property
    def size(self) -> int:
        """Bytes of the file: where the last extent ends."""
        return self._words[-5] + self._words[-4] if self._records else 0

    @property
    def records(self) -> bytes:
        """The packed records."""
        return self._records

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the records take."""
        return len(self._records)

    def find(self, offset: int) -> int:
        """The index of the extent that holds byte ``offset``; ``IndexError`` outside the file."""
        if not 0 <= offset < self.size:
            raise IndexError(f"offset {offset} in a file of {self.size} bytes")
        return bisect_right(self._logical, offset) - 1

    def overlapping(self, offset: int, size: int) -> Iterator[Extent]:
        """The extents that hold any of ``size`` bytes from ``offset`` on, cut at the file's end."""
        end = min(offset + size, self.size)
        if offset >= end:
            return
        for index in range(self.find(offset), len(self._logical)):
            if self._logical[index] >= end:
                return
            yield self[index]

    def __len__(self) -> int:
        return len(self._logical)

    def __getitem__(self, index: int) -> Extent:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"extent {index} of {len(self)}")
        return _extent(RECORD.unpack_from(self._records, index * RECORD.size))

    def __iter__(self) -> Iterator[Extent]:
        return map(_extent, RECORD.iter_unpack(self._records))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExtentTable):
            return NotImplemented
        return self._records == other._records

    def __hash__(self) -> int:
        return hash(self._records)

    def __repr__(self) -> str:
        return f"<ExtentTable of {len(self)} extents, {self.size} bytes>"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._records,)


def _extent(record: tuple[int, ...]) -> Extent:
    logical, size, address, stored, device, kind, flags, _ = record
    return Extent(logical, size, address, stored, kind, device, bool(flags & FLAG_PARTIAL))


class TableBuilder:
    """Packs extents as they come, and joins those that are one run of bytes.

    Two neighbours become one when both are holes, or both are plain, lie back to back in the
    same ``region`` and the first uses all that it stores.
    """

    def __init__(self) -> None:
        self._records = bytearray()
        self._last: Extent | None = None
        self._size = self._stored = 0  # of it and of what was joined to it
        self._region = -1

    def add(self, extent: Extent, region: int = -1) -> None:
        """Append the extent that follows; ``region`` is what :meth:`Geometry.place` said."""
        if self._joins(extent, region):
            self._size += extent.size
            self._stored += extent.stored
            return
        self._flush()
        self._last = extent
        self._size, self._stored, self._region = extent.size, extent.stored, region

    def _joins(self, extent: Extent, region: int) -> bool:
        last = self._last
        if last is None or last.kind != extent.kind:
            return False
        if extent.kind == Kind.HOLE:
            return True
        return (
            last.address + self._stored == extent.address
            and extent.kind == Kind.PLAIN
            and self._size == self._stored
            and last.device == extent.device
            and self._region == region
        )

    def _flush(self) -> None:
        last = self._last
        if last is not None:
            self._records += RECORD.pack(
                last.logical,
                self._size,
                last.address,
                self._stored,
                last.device,
                last.kind,
                last.partial,
                0,
            )

    def records(self) -> bytes:
        """Return the packed records of all extents; nothing can be added afterwards."""
        self._flush()
        self._last = None
        return bytes(self._records)


_ADDRESS_MAX = (1 << 64) - 1

Region = tuple[int, int, int]
"""``(start, end, device)``: which bytes of the unified address space lie on which device."""
REGION = Struct("=QQ")
"""Start and end of a region."""


@dataclass(frozen=True)
class Geometry:
    """What the extents of an image may refer to.

    ``attached`` says whether the extra ``devices`` are opened beside the image; without them the
    image holds their bytes itself, where their unified addresses point (flat device mode).
    ``packed_size`` is the size of the packed inode: ``None`` while it is not known, and then
    whoever follows a fragment has to check that it ends inside.
    """

    image_size: int
    """Bytes of the image itself, the primary device."""
    blkszbits: int = 12
    feature_incompat: int = 0
    algorithms: int = 0
    """Bitmap of the compression algorithms that extents may use."""
    packed_nid: int = 0
    """0 if the image has no packed inode."""
    packed_size: int | None = None
    devices: tuple[Device, ...] = ()
    attached: bool = True

    @classmethod
    def of(
        cls,
        superblock: Superblock,
        image_size: int,
        *,
        packed_size: int | None = None,
        devices: Iterable[Device] = (),
        attached: bool = True,
    ) -> Self:
        """The geometry of an image from its superblock; sizes in bytes."""
        fragments = superblock.has(disk.FEATURE_INCOMPAT_FRAGMENTS)
        return cls(
            image_size=image_size,
            blkszbits=superblock.blkszbits,
            feature_incompat=superblock.feature_incompat,
            algorithms=superblock.algorithms,
            packed_nid=superblock.packed_nid if fragments else 0,
            packed_size=packed_size,
            devices=tuple(devices),
            attached=attached,
        )

    def __post_init__(self) -> None:
        end = 0
        for start, stop, device in sorted(self.regions[:-1]):
            if start < end:
                raise FormatError(f"the addresses of device {device} overlap another device's")
            end = stop

    def has(self, incompat: int) -> bool:
        """Whether an incompat feature bit is set."""
        return bool(self.feature_incompat & incompat)

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return 1 << self.blkszbits

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Where addresses without a device number lead; the first match counts."""
        unified = []
        if self.attached:
            unified = [
                (
                    device.uniaddr << self.blkszbits,
                    min(device.uniaddr + device.blocks << self.blkszbits, _ADDRESS_MAX),
                    number,
                )
                for number, device in enumerate(self.devices, 1)
                if device.uniaddr
            ]
        return (*unified, (0, self.image_size, 0))

    @cached_property
    def packed_regions(self) -> bytes:
        """Start and end of each region, as :mod:`~iasfs.format.zindex` wants them."""
        return b"".join(REGION.pack(start, end) for start, end, _ in self.regions)

    def place(self, address: int, size: int, device: int = 0) -> int | None:
        """Which region holds ``size`` bytes at ``address`` of ``device``; ``None`` if none does."""
        if device:
            span = self.devices[device - 1]
            if address + size > span.blocks << self.blkszbits:
                return None
            if self.attached:
                return len(self.regions) + device
            start = span.uniaddr << self.blkszbits
            inside = start and start + address + size <= self.image_size
            return len(self.regions) + device if inside else None
        return place(self.regions, address, size)

    def on_primary(self, address: int, size: int) -> bool:
        """Whether bytes lie inside the image itself, as all metadata and inline data must."""
        return self.place(address, size) == len(self.regions) - 1


def place(regions: Sequence[tuple[int, int, int]], address: int, size: int) -> int | None:
    """The index of the region that holds ``size`` bytes at ``address``, or ``None``."""
    for index, (start, end, _) in enumerate(regions):
        if start <= address < end:
            return index if address + size <= end else None
    return None


def resolve(extent: Extent, geometry: Geometry) -> tuple[int, int]:
    """``(device, address)`` of an extent's stored bytes: which blob, and from which byte on.

    Device 0 is the image itself and n the n-th extra device.  The extent is one of a table, so
    that all its bytes are known to lie there; not for holes and fragments.
    Source: ``erofs_map_dev``.
    """
    address, device = extent.address, extent.device
    if not geometry.devices:
        return 0, address
    if not device:
        for start, end, number in geometry.regions:
            if start <= address < end:
                return number, address - start
        raise FormatError(f"address {address} lies on no device")
    if geometry.attached:
        return device, address
    return 0, address + (geometry.devices[device - 1].uniaddr << geometry.blkszbits)
