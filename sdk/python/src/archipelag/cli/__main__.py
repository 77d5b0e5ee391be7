"""`python -m archipelag.cli`, where the command itself is not on the path."""

import sys

from archipelag.cli import main

if __name__ == "__main__":
    sys.exit(main())
