"""``python -m iasfs``: the command line."""

from iasfs.cli import main

main()
