"""JSON Web Token definitions, which authenticate callers by tokens that an issuer has signed.

The authenticator is a module of its own, since it imports PyJWT, which is slow, and few installations use JWT.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from zatotx.interfaces.security_type import SecurityType
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, secure_url_error
from zatotx.wire.malformed import Malformed

ALGORITHMS = ('HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384',
              'ES512', 'EdDSA')  # fmt: skip
_SOURCES = ('secret', 'public_key', 'jwks_url')


def _algorithms_error(names: list[str]) -> str:
    unknown = [name for name in names if name not in ALGORITHMS]
    return f'must be of: {", ".join(ALGORITHMS)}, got {", ".join(map(repr, unknown))}' if unknown else ''


def _url_error(url: str) -> str:
    """Require that keys are fetched over TLS, or from the loopback interface."""
    return url and secure_url_error(url, no_user_reason='keys are public', http_risk='put in keys of his own')


class Jwt(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition for JSON Web Tokens of one issuer."""

    algorithms: Annotated[
        list[str],
        field('Accepted signature algorithms, among those that the key supports', min_length=1, max_length=20,
              check=_algorithms_error),
    ]
    jwks_url: Annotated[
        str,
        field("URL of the issuer's key set: https, or http on loopback; one of jwks_url, public_key and secret must "
              "be set", max_length=4096, check=_url_error),
    ] = ''
    public_key: Annotated[
        str, field('Key that verifies tokens, or a certificate with that key, in PEM form', max_length=65_536)
    ] = ''
    secret: Annotated[
        str, field('Secret shared with the issuer, at least as long as the hash of the algorithm', secret='encrypted')
    ] = ''
    issuer: Annotated[
        str, field('Required iss claim; empty = not checked', max_length=4096)
    ] = ''
    audience: Annotated[
        list[str],
        field('Audiences, one of which the aud claim must contain; none = not checked', max_length=100),
    ] = []
    leeway: Annotated[
        float, field('Allowed clock difference in seconds, for exp, nbf and iat', ge=0, le=600)
    ] = 0.0
    require_exp: Annotated[bool, field('Whether tokens must have an expiry time (exp)')] = True
    username_claim: Annotated[
        str, field('Claim with the user name of the principal', min_length=1, max_length=1000)
    ] = 'sub'
    roles_claim: Annotated[
        str,
        field('Claim with further roles of the principal, a list or space-separated text; a.b is b within a; empty = '
              'none', max_length=1000),
    ] = ''


def _validate(value: Jwt) -> list[tuple[str, str]]:
    sources = [name for name in _SOURCES if getattr(value, name)]
    if len(sources) != 1:
        detail = f', not {" and ".join(sources)}; set the others to \'\'' if sources else ''
        return [('secret', f'exactly one of {", ".join(_SOURCES)} must be given{detail}')]
    return list(_KEY_CHECKS[sources[0]](value))


def _check_secret(value: Jwt) -> Iterator[tuple[str, str]]:
    # imported on demand: slow, and few definitions need it
    from zatotx.wire.jwk_and_jws import HMAC_BYTES, key_from_secret

    yield from _check_algorithms(value, 'secret', frozenset(HMAC_BYTES))
    try:
        key = key_from_secret(value.secret)
    except Malformed as error:
        yield 'secret', str(error)
        return
    for name in value.algorithms:
        if name in HMAC_BYTES and name not in key.algorithms:
            yield 'secret', f'is shorter than the {HMAC_BYTES[name]} bytes that {name} needs (RFC 7518 §3.2)'


def _check_public_key(value: Jwt) -> Iterator[tuple[str, str]]:
    from zatotx.wire.jwk_and_jws import key_from_pem

    try:
        key = key_from_pem(value.public_key)
    except Malformed as error:
        yield 'public_key', str(error)
    else:
        yield from _check_algorithms(value, 'public_key', key.algorithms)


def _check_jwks_url(value: Jwt) -> Iterator[tuple[str, str]]:
    yield from _check_algorithms(value, 'jwks_url', frozenset(name for name in ALGORITHMS if not name.startswith('HS')))


def _check_algorithms(value: Jwt, source: str, supported: frozenset[str]) -> Iterator[tuple[str, str]]:
    unsupported = [name for name in value.algorithms if name not in supported]
    if unsupported:
        yield 'algorithms', f'{source} is for {", ".join(sorted(supported))}, and not for {", ".join(unsupported)}'


_KEY_CHECKS = {'secret': _check_secret, 'public_key': _check_public_key, 'jwks_url': _check_jwks_url}

JWT = ObjectType(
    key='jwt',
    struct=Jwt,
    section='security',
    tag='jwt',
    title='JWT definition',
    zato=ZatoApi(
        prefix='security.jwt',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        zato_names={'secret': 'password'},
        extra_response_fields=('username',),
    ),
    validate=_validate,
)


CHALLENGE = 'Bearer realm="zatotx"'


def _openapi_scheme(value: Jwt) -> Mapping[str, Any]:
    return {'type': 'http', 'scheme': 'bearer', 'bearerFormat': 'JWT', 'description': f'{value.name}: a JSON Web Token'}


security_type = SecurityType(
    object_type=JWT,
    authenticator='zatotx.security.jwt.authenticator:make_authenticator',
    challenge=lambda _: CHALLENGE,
    openapi_scheme=_openapi_scheme,
)
