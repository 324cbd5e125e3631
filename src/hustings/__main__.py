"""`python -m hustings`, which does the same as the `hustings` command."""

from hustings.cli.commands import main

if __name__ == "__main__":
    main()
