"""The one exception of everything in wire/ that reads what a caller wrote, HTTP framing aside."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - what the text is
    """What was read is not of the form it claims. The message is one plain phrase that the caller may see: what is
    wrong and, where known, at which byte."""
