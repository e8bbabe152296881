"""`python -m groundswell.trainer`: the command line, for where `groundswell` is not on PATH."""

from groundswell.cli import main

if __name__ == "__main__":
    main()
