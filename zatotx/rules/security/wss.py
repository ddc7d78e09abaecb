"""Whether a WS-Security header admits: the decision, and what has to be remembered for it. Pure."""

from __future__ import annotations

from hmac import compare_digest
from math import inf

import msgspec

from zatotx.schema.security.wss import DIGEST, Wss
from zatotx.wire.soap.ws_security import SecurityHeader, Timestamp, UsernameToken, password_digest

LEEWAY = 60.0  # seconds that the clock of a caller may be ahead of ours


class WssTerms(msgspec.Struct, frozen=True):
    """What a definition asks for."""

    username: str
    password: bytes  # b'' = there is none yet, and nobody is admitted
    digest: bool
    complete: bool  # nonce and creation must be there
    lifetime: float  # seconds from its creation for which a token is good
    remembered: float  # seconds for which a nonce is remembered at least

    def __repr__(self) -> str:
        return f'Terms({self.username!r})'


class TokenRefused(Exception):  # noqa: N818 - an answer, not an error of ours
    """It does not admit, and why: for the log alone. `guessed`: because of the secret."""

    def __init__(self, why: str, *, guessed: bool = False) -> None:
        super().__init__(why)
        self.guessed = guessed


class OneTimeUse(msgspec.Struct, frozen=True):
    """It admits, unless this nonce was there before. No nonce: it admits."""

    nonce: bytes
    ttl: float = 0.0  # seconds to remember it


def wss_terms(definition: Wss) -> WssTerms:
    """Of a definition."""
    return WssTerms(
        definition.username,
        definition.password.encode('utf-8'),
        definition.password_type == DIGEST,
        definition.reject_empty_nonce_creat,
        float(definition.reject_expiry_limit) if definition.reject_stale_tokens else inf,
        float(definition.nonce_freshness_time),
    )


def check_token(security: SecurityHeader, terms: WssTerms, now: float) -> OneTimeUse:
    """What is left to be asked. Raises Refused. The secret is looked at first, so that whoever does not know it learns
    nothing of the rest."""
    token = _token_of(security, terms)
    _prove(token, terms)
    _in_time(security.timestamp, token, terms, now)
    if terms.complete and not (token.nonce and token.created):
        raise TokenRefused('it has no Nonce, or no Created')
    return OneTimeUse(token.nonce, _remembered(token, terms, now))


def _token_of(security: SecurityHeader, terms: WssTerms) -> UsernameToken:
    """The token of our user. A message may carry others', for others; of ours it may have one: of two, who knows which
    one the rest of the message goes with?"""
    mine = [token for token in security.tokens if token.username == terms.username]
    if len(mine) > 1:
        raise TokenRefused('two tokens have the same Username')
    return mine[0] if mine else security.tokens[0]


def _prove(token: UsernameToken, terms: WssTerms) -> None:
    """Raises Refused where it is not our user's. What is compared takes as long for another user."""
    if token.is_digest != terms.digest:
        raise TokenRefused('the Password is of another type than the definition has')
    if terms.digest:
        right = compare_digest(token.password.strip().encode('utf-8'),
                               password_digest(token.nonce, token.created, terms.password))  # fmt: skip
    else:
        right = compare_digest(token.password.encode('utf-8'), terms.password)
    if not (right and token.username == terms.username and terms.password):
        raise TokenRefused('Username or Password is wrong', guessed=True)


def _in_time(timestamp: Timestamp | None, token: UsernameToken, terms: WssTerms, now: float) -> None:
    """Raises Refused for what was made in the future, or is over. A token from the future would outlive the memory of
    its nonce."""
    stamp = timestamp or Timestamp()
    for created in (token.created_at, stamp.created_at):
        if created is not None and created > now + LEEWAY:
            raise TokenRefused('it was created in the future')
        if created is not None and created < now - terms.lifetime:
            raise TokenRefused('it is stale')
    if stamp.expires_at is not None and stamp.expires_at < now - LEEWAY:
        raise TokenRefused('it has expired')
    if stamp.expires_at is not None and stamp.expires_at < (stamp.created_at or stamp.expires_at):
        raise TokenRefused('it expires before it was created')


def _remembered(token: UsernameToken, terms: WssTerms, now: float) -> float:
    """Seconds: as long as the definition says, and for as long as the token would be good."""
    if token.created_at is None or terms.lifetime == inf:
        return terms.remembered
    return max(terms.remembered, token.created_at + terms.lifetime - now + 1.0)
