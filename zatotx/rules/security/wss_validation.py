"""Validates WS-Security headers against a WS-Security definition. Pure: no I/O."""

from __future__ import annotations

from hmac import compare_digest
from math import inf

import msgspec

from zatotx.wire.soap.ws_security import SecurityHeader, Timestamp, UsernameToken, password_digest

MAX_CLOCK_SKEW = 60.0  # seconds that a caller's clock may be ahead


class WssRequirements(msgspec.Struct, frozen=True):
    """The requirements that a WS-Security definition places on headers."""

    username: str
    password: bytes  # b'' = none is set, all tokens are rejected
    digest: bool
    requires_nonce_and_created: bool  # Nonce and Created are required
    lifetime: float  # seconds for which a token is valid after its creation
    min_nonce_ttl: float  # minimum seconds for which a nonce is remembered

    def __repr__(self) -> str:
        return f'Terms({self.username!r})'


class WssTokenRejected(Exception):  # noqa: N818 - named for the condition
    """A WS-Security token is rejected. The message gives the reason, for the log only. `has_wrong_credentials` says
    whether the user name or the secret was wrong."""

    def __init__(self, reason: str, *, has_wrong_credentials: bool = False) -> None:
        super().__init__(reason)
        self.has_wrong_credentials = has_wrong_credentials


class NonceCheck(msgspec.Struct, frozen=True):
    """The nonce of a valid token, which must be checked for replay. A message is accepted if the token has no nonce, or
    if the nonce was not used before."""

    nonce: bytes
    ttl: float = 0.0  # seconds to remember the nonce


def validate_security_header(security: SecurityHeader, requirements: WssRequirements, now: float) -> NonceCheck:
    """Validate a WS-Security header except for replay, and return the nonce to check. Raises WssTokenRejected.
    Validates the secret first, so that callers without it learn nothing else."""
    token = _find_token(security, requirements)
    _check_credentials(token, requirements)
    _check_times(security.timestamp, token, requirements, now)
    if requirements.requires_nonce_and_created and not (token.nonce and token.created):
        raise WssTokenRejected('it has no Nonce, or no Created')
    return NonceCheck(token.nonce, _nonce_ttl(token, requirements, now))


def _find_token(security: SecurityHeader, terms: WssRequirements) -> UsernameToken:
    """Return the token of the definition's user. A message may carry tokens of other users for other receivers, but
    only one of this user: with two it would be ambiguous which one the rest of the message belongs to."""
    own_tokens = [token for token in security.tokens if token.username == terms.username]
    if len(own_tokens) > 1:
        raise WssTokenRejected('two tokens have the same Username')
    return own_tokens[0] if own_tokens else security.tokens[0]


def _check_credentials(token: UsernameToken, terms: WssRequirements) -> None:
    """Check user name and secret in constant time. Raises WssTokenRejected."""
    if token.is_digest != terms.digest:
        raise WssTokenRejected('the Password is of another type than the definition has')
    if terms.digest:
        is_valid = compare_digest(token.password.strip().encode('utf-8'),
                               password_digest(token.nonce, token.created, terms.password))  # fmt: skip
    else:
        is_valid = compare_digest(token.password.encode('utf-8'), terms.password)
    if not (is_valid and token.username == terms.username and terms.password):
        raise WssTokenRejected('Username or Password is wrong', has_wrong_credentials=True)


def _check_times(timestamp: Timestamp | None, token: UsernameToken, terms: WssRequirements, now: float) -> None:
    """Reject tokens created in the future and expired ones. A token from the future would outlive its remembered nonce.
    Raises WssTokenRejected."""
    stamp = timestamp or Timestamp()
    for created in (token.created_at, stamp.created_at):
        if created is not None and created > now + MAX_CLOCK_SKEW:
            raise WssTokenRejected('it was created in the future')
        if created is not None and created < now - terms.lifetime:
            raise WssTokenRejected('it is stale')
    if stamp.expires_at is not None and stamp.expires_at < now - MAX_CLOCK_SKEW:
        raise WssTokenRejected('it has expired')
    if stamp.expires_at is not None and stamp.expires_at < (stamp.created_at or stamp.expires_at):
        raise WssTokenRejected('it expires before it was created')


def _nonce_ttl(token: UsernameToken, terms: WssRequirements, now: float) -> float:
    """Return the seconds to remember the nonce: as configured, and at least as long as the token is valid."""
    if token.created_at is None or terms.lifetime == inf:
        return terms.min_nonce_ttl
    return max(terms.min_nonce_ttl, token.created_at + terms.lifetime - now + 1.0)
