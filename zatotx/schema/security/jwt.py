"""JSON Web Tokens: who may use a channel by a token that an issuer signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition
from zatotx.schema.security.url import url_mistake
from zatotx.wire.malformed import Malformed

ALGORITHMS = ('HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384',
              'ES512', 'EdDSA')  # fmt: skip
_SOURCES = ('secret', 'public_key', 'jwks_url')


def _algorithms_mistake(names: list[str]) -> str:
    unknown = [name for name in names if name not in ALGORITHMS]
    return f'must be of: {", ".join(ALGORITHMS)}, got {", ".join(map(repr, unknown))}' if unknown else ''


def _url_mistake(url: str) -> str:
    """Keys come by TLS, or from this machine."""
    return url and url_mistake(url, user='keys are public', plain='put in keys of his own')


class Jwt(Definition, frozen=True, kw_only=True):
    """Tokens of one issuer: who may use the channels that name this definition."""

    algorithms: Annotated[
        list[str],
        field('Algorithms of signatures that are accepted, of those that the key is for', min_length=1, max_length=20,
              check=_algorithms_mistake),
    ]
    jwks_url: Annotated[
        str,
        field('Where the issuer publishes its keys: https, or http on loopback; one of jwks_url, public_key and secret '
              'must be set', max_length=4096, check=_url_mistake),
    ] = ''
    public_key: Annotated[
        str, field('Key that tokens are verified with, or a certificate that has it, in PEM form', max_length=65_536)
    ] = ''
    secret: Annotated[
        str, field('Secret that the issuer signs with too, as long as the hash of the algorithm', secret='encrypted')
    ] = ''
    issuer: Annotated[
        str, field('What tokens must have as iss; empty = it is not looked at', max_length=4096)
    ] = ''
    audience: Annotated[
        list[str],
        field('Names of which tokens must have one in aud; none = it is not looked at', max_length=100),
    ] = []
    leeway: Annotated[
        float, field('Seconds that clocks may differ by, for exp, nbf and iat', ge=0, le=600)
    ] = 0.0
    require_exp: Annotated[bool, field('Whether tokens must have an end (exp)')] = True
    username_claim: Annotated[
        str, field('Claim that becomes the user name of the principal', min_length=1, max_length=1000)
    ] = 'sub'
    roles_claim: Annotated[
        str,
        field('Claim with more roles of whoever it admits, a list or text with spaces between; a.b is b within a; '
              'empty = none', max_length=1000),
    ] = ''


def _mistakes(value: Jwt) -> list[tuple[str, str]]:
    given = [name for name in _SOURCES if getattr(value, name)]
    if len(given) != 1:
        now = f', not {" and ".join(given)}; set the others to \'\'' if given else ''
        return [('secret', f'exactly one of {", ".join(_SOURCES)} must be given{now}')]
    return list(_KEY_CHECKS[given[0]](value))


def _of_secret(value: Jwt) -> Iterator[tuple[str, str]]:
    from zatotx.wire.security.jwk import HMAC_BYTES, key_of_secret  # takes its time, and few have such definitions

    yield from _not_for(value, 'secret', frozenset(HMAC_BYTES))
    try:
        key = key_of_secret(value.secret)
    except Malformed as wrong:
        yield 'secret', str(wrong)
        return
    for name in value.algorithms:
        if name in HMAC_BYTES and name not in key.algorithms:
            yield 'secret', f'is shorter than the {HMAC_BYTES[name]} bytes that {name} needs (RFC 7518 §3.2)'


def _of_public_key(value: Jwt) -> Iterator[tuple[str, str]]:
    from zatotx.wire.security.jwk import key_of_pem

    try:
        key = key_of_pem(value.public_key)
    except Malformed as wrong:
        yield 'public_key', str(wrong)
    else:
        yield from _not_for(value, 'public_key', key.algorithms)


def _of_jwks_url(value: Jwt) -> Iterator[tuple[str, str]]:
    yield from _not_for(value, 'jwks_url', frozenset(name for name in ALGORITHMS if not name.startswith('HS')))


def _not_for(value: Jwt, source: str, fitting: frozenset[str]) -> Iterator[tuple[str, str]]:
    others = [name for name in value.algorithms if name not in fitting]
    if others:
        yield 'algorithms', f'{source} is for {", ".join(sorted(fitting))}, and not for {", ".join(others)}'


_KEY_CHECKS = {'secret': _of_secret, 'public_key': _of_public_key, 'jwks_url': _of_jwks_url}

JWT = ObjectType(
    key='jwt',
    struct=Jwt,
    section='security',
    tag='jwt',
    title='JWT definition',
    zato=ZatoApi(
        prefix='security.jwt',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        names={'secret': 'password'},
        extra_out=('username',),
    ),
    check=_mistakes,
)
