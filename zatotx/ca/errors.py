"""The exception of the certificate authority."""

from __future__ import annotations


class AuthorityError(Exception):
    """What was asked of the certificate authority cannot be done: one sentence with what, where and what to do."""
