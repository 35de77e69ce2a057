"""`python -m cli`: the `taskpacks` command."""

from cli.main import main

main()
