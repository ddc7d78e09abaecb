"""Tokens for tests, good ones and any others: what PyJWT would not sign is put together by hand."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

SECRET = 'a secret as long as the longest of the three hashes, which has 64 bytes'
NOW = 1_800_000_000.0  # seconds: when tokens of unit tests are looked at
GOOD: Mapping[str, Any] = {'iss': 'https://idp/', 'aud': 'zatotx', 'sub': 'joe', 'exp': NOW + 60, 'iat': NOW - 1}

_library = get_default_algorithms()
_CURVES: Mapping[str, Any] = {'ES256': ec.SECP256R1, 'ES384': ec.SECP384R1, 'ES512': ec.SECP521R1}


def private_key(algorithm: str, number: int = 1) -> Any:
    """A key for the algorithm, the same one for the same `number`."""
    return _made(algorithm, number)


@cache
def _made(algorithm: str, number: int) -> Any:
    if algorithm[:2] in ('RS', 'PS'):
        return rsa.generate_private_key(65537, 2048)
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == 'Ed448':
        return ed448.Ed448PrivateKey.generate()
    return ed25519.Ed25519PrivateKey.generate() if algorithm == 'EdDSA' else SECRET.encode()


def pem(key: Any) -> str:
    """Its public half."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode('ascii')


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Its public half as an issuer publishes it; members that are None are left out."""
    names = {rsa.RSAPrivateKey: 'RS256', ec.EllipticCurvePrivateKey: 'ES256'}
    reader = next((name for type_, name in names.items() if isinstance(key, type_)), 'EdDSA')
    document = {**_library[reader].to_jwk(key.public_key(), as_dict=True), 'use': 'sig', **members}
    return {name: value for name, value in document.items() if value is not None}


def jwks(*keys: dict[str, Any]) -> bytes:
    """A set of them."""
    return json.dumps({'keys': keys}).encode()


def part(value: object) -> bytes:
    """A part of a token: an object, or the text that stands in it."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(text).rstrip(b'=')


def signed(claims: object = GOOD, algorithm: str = 'RS256', *, key: Any = None, by: str = '', **header: Any) -> bytes:
    """A token that this key signs, the one of the algorithm if none is given. `by`: the algorithm that signs, if it is
    not the one the header says."""
    message = part({'alg': algorithm, 'typ': 'JWT', **header}) + b'.' + part(claims)
    return message + b'.' + part(sign(message, by or algorithm, key or private_key(by or algorithm)))


def sign(message: bytes, algorithm: str, key: Any) -> bytes:
    """The signature of the parts of a token."""
    signature: bytes = _library[algorithm].sign(message, key)
    return signature
