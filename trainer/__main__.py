"""`python -m trainer`: the command `trainer`."""

from trainer.cli import main

main()
