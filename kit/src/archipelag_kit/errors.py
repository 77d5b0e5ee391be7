"""Errors of the kit. The text says what to do.

KitError
├── BadInput     the customer's input cannot be used; the text is for the customer
├── NotACargo    the author's module is not one Cargo; the text is for the author
└── BadOutput    the author's function gave something that cannot be sent
"""

from __future__ import annotations


class KitError(Exception):
    """Something expected went wrong."""


class BadInput(KitError):
    """Raise it with a sentence for the customer: what is wrong with the input, and what would be right."""


class NotACargo(KitError):
    pass


class BadOutput(KitError):
    pass
