"""`python -m cones` is `cones`."""

from cones.cli import main

main()
