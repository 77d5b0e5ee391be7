"""`python -m archipelag_kit.commands`, where the command itself is not on the path."""

import sys

from archipelag_kit.commands import main

if __name__ == "__main__":
    sys.exit(main())
