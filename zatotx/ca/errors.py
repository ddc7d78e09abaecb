"""The exception of the certificate authority."""

from __future__ import annotations


class AuthorityError(Exception):
    """An operation of the certificate authority is impossible. The message is one sentence that says what failed,
    where, and what to do."""
