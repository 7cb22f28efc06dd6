"""From files to an image: sources become a tree, a tree becomes bytes.

:mod:`~iasfs.write.scan` and :mod:`~iasfs.write.tar` make a :class:`~iasfs.tree.Tree`.
:mod:`~iasfs.write.store` puts the file contents, compressed, into a data zone whose place is
still open; :mod:`~iasfs.write.plan` gives every inode and every block its address (pure); and
:mod:`~iasfs.write.emit` turns the plan into bytes.  :mod:`~iasfs.write.writer` is what users
call.
"""
