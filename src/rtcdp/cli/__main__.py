"""`python -m rtcdp.cli`."""

from rtcdp.cli import main

main()
