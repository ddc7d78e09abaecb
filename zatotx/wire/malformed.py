"""The exception that all parsers in wire/ raise, except those for HTTP framing."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - named for the condition
    """The input is malformed. The message may be shown to the caller: it says what is wrong and, if known, at which
    byte."""
