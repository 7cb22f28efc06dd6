"""The on-disk truth of EROFS: bytes in, values out; no I/O and no clock.

The layouts are those of ``erofs_fs.h`` of Linux and erofs-utils.  :mod:`~iasfs.format.disk`
mirrors the structures; every other module turns one kind of them into values and back.
"""
