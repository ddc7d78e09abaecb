"""The exception that all parsers in wire/ raise, except those for HTTP framing."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - named for the condition
    """The input is malformed. The message may be shown to the caller. It describes the error and, if known, the byte
    position of the error."""
