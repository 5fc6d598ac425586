"""`python -m rtcdp`."""

from rtcdp.cli import main

main()
