"""Image Attach Storage: layers stored once, each under its diffID, wherever bytes can lie.

:mod:`~iasfs.ias.layout` says what is called what (pure); :mod:`~iasfs.ias.backend` says what a
place for bytes has to do; :mod:`~iasfs.ias.posix` is a directory, :mod:`~iasfs.ias.objects`
whatever fsspec reaches; :mod:`~iasfs.ias.store` keeps layers in one of them.  Here an image is
bytes and a descriptor; :mod:`iasfs.layers` makes it from a tar and opens it.
"""
