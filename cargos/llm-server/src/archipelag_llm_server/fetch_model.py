"""Brings the model's weights onto an Island that runs this Cargo natively, as llm-chat does: checked, once.

In an image the Island hands the file in, so nothing here is a dependency of the Cargo.
"""

from __future__ import annotations

import sys


def main() -> int:
    from archipelag_llm_chat import fetch_model

    return fetch_model.main()


if __name__ == "__main__":
    sys.exit(main())
