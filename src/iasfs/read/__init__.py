"""From a blob to files: read an image without the kernel.

Three verbs make a read: *map* (which extents hold the bytes; pure), *fetch* (those ranges of the
blob, many at once) and *decode* (the codec, into the destination).  :mod:`~iasfs.read.volume`
knows inodes by number, :mod:`~iasfs.read.data` their bytes, and :mod:`~iasfs.read.image` gives
them paths and the names of :mod:`os`.
"""
