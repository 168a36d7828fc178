"""``python -m msbatch`` is the command line."""

from msbatch.cli import main

main()
