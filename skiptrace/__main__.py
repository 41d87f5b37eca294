"""`python -m skiptrace`: the command."""

from skiptrace.command.cli import main

main()
