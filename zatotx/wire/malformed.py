"""The exception that all parsers in wire/ raise, except those of HTTP framing."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - named for the condition
    """The input is malformed. The message is a plain phrase that the caller may see: what is wrong and, if known, at
    which byte."""
