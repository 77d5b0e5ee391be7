"""A stand-in; see the README above. What it has none of is the real package's: there are the engines."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
