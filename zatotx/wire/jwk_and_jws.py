"""Parses JSON Web Keys (RFC 7517) and JSON Web Signatures (RFC 7515).

The algorithms of a key follow from the key itself, so that an RSA key cannot be used as an HMAC secret (RFC 8725 §2.1).
Keys too weak for RFC 7518 are rejected.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from zatotx.wire.json_codec import decode_object
from zatotx.wire.malformed import Malformed

HMAC_BYTES: Mapping[str, int] = {'HS256': 32, 'HS384': 48, 'HS512': 64}  # RFC 7518 §3.2: the size of the hash
_RSA = frozenset({'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'})
_CURVES: Mapping[str, str] = {'secp256r1': 'ES256', 'secp384r1': 'ES384', 'secp521r1': 'ES512'}
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192  # bits; RFC 7518 §3.3; above the maximum verification takes milliseconds
_MAX_KEYS = 1_000  # per key set: issuers have a few keys, or at most one per customer
# kty -> the PyJWT algorithm that parses it
_PARSERS_BY_KTY: Mapping[str, str] = {'RSA': 'RS256', 'EC': 'ES256', 'OKP': 'EdDSA'}
_implementations = get_default_algorithms()


@frozen
class VerificationKey:
    """A key that verifies signatures, and the algorithms with which it may be used."""

    material: Any = field(repr=False)  # a key of cryptography, or the bytes of a secret
    algorithms: frozenset[str]
    kid: str | None = None

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Return whether the signature was made with this key. Takes a millisecond at most. False for an algorithm that
        the key does not support."""
        if algorithm not in self.algorithms:
            return False
        return bool(_implementations[algorithm].verify(message, self.material, signature))


def key_from_secret(secret: str) -> VerificationKey:
    """Return the verification key for a shared secret. Raises Malformed, whose message does not contain the secret, if
    the secret is a public key or too short for every algorithm."""
    material = secret.encode('utf-8')
    algorithms = frozenset(name for name, min_bytes in HMAC_BYTES.items() if len(material) >= min_bytes)
    if not algorithms:
        raise Malformed(f'has {len(material)} bytes, and the shortest hash needs {min(HMAC_BYTES.values())}')
    try:
        _implementations['HS256'].prepare_key(material)
    except InvalidKeyError:
        raise Malformed('is a key or certificate that others may know: a secret is random text') from None
    return VerificationKey(material, algorithms)


def key_from_pem(text: str) -> VerificationKey:
    """Return the verification key for a public key or certificate in PEM form. Raises Malformed for other text and for
    unsuitable keys."""
    if 'PRIVATE KEY-----' in text:
        raise Malformed('is a private key: give the public one')
    data = text.encode('utf-8')
    try:
        key = load_pem_x509_certificate(data).public_key() if 'BEGIN CERT' in text else load_pem_public_key(data)
    except (ValueError, InvalidVersion, UnsupportedAlgorithm):
        raise Malformed('holds no public key in PEM form') from None
    return VerificationKey(key, _supported_algorithms(key))


def key_from_jwk(jwk: Mapping[str, Any]) -> VerificationKey:
    """Return the verification key for a JWK. Raises Malformed if the JWK is invalid, weak, private, or not meant for
    signature verification."""
    kty, kid = jwk.get('kty'), jwk.get('kid')
    if not isinstance(kty, str) or kty not in _PARSERS_BY_KTY:
        raise Malformed('is of no type that has public keys')
    if 'd' in jwk:
        raise Malformed('is a private key that was published')
    if jwk.get('use', 'sig') != 'sig' or not _may_verify(jwk.get('key_ops', ['verify'])):
        raise Malformed('is not for verifying signatures')
    if kid is not None and not isinstance(kid, str):
        raise Malformed('has a kid that is no text')
    try:
        key: Any = _implementations[_PARSERS_BY_KTY[kty]].from_jwk(dict(jwk))
    except Exception:  # two libraries may raise anything: the key is invalid
        raise Malformed('cannot be read') from None
    algorithms = _supported_algorithms(key)
    if 'alg' in jwk:
        algorithms &= {str(jwk['alg'])}
    if not algorithms:
        raise Malformed('has an alg that does not fit it')
    return VerificationKey(key, algorithms, kid)


def parse_key_set(body: bytes) -> tuple[list[VerificationKey], list[str]]:
    """Parse a JWK Set (RFC 7517 §5). Returns the distinct keys that can verify signatures, and the reasons why the
    other keys cannot. Raises Malformed if the body is not a JWK Set."""
    entries = decode_object(body).get('keys')
    if not isinstance(entries, list):
        raise Malformed('the document has no list called keys')
    if len(entries) > _MAX_KEYS:
        raise Malformed(f'the document has {len(entries)} keys: more than {_MAX_KEYS}')
    keys: list[VerificationKey] = []
    # by kid: comparing all keys with each other would dominate the cost
    keys_by_kid: dict[str | None, list[VerificationKey]] = {}
    errors = []
    for number, jwk in enumerate(entries, 1):
        try:
            key = key_from_jwk(jwk if isinstance(jwk, dict) else {})
        except Malformed as error:
            errors.append(f'key {number} {error}')
        else:
            same_kid = keys_by_kid.setdefault(key.kid, [])
            if key not in same_kid:
                same_kid.append(key)
                keys.append(key)
    return keys, errors


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and 'verify' in operations


def _supported_algorithms(key: Any) -> frozenset[str]:
    """Return the algorithms that a public key supports, by its type and curve."""
    if isinstance(key, RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise Malformed(f'is an RSA key of {key.key_size} bits: it must have {_MIN_RSA_BITS} to {_MAX_RSA_BITS}')
        return _RSA
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return frozenset({'EdDSA'})
    raise Malformed('is of a type or curve that no algorithm here uses')


MAX_LENGTH = 16_384  # bytes of a token; request heads are limited elsewhere, other callers may not be


class SignedToken(msgspec.Struct, frozen=True):
    """A parsed JSON Web Signature that has not been verified yet."""

    header: Mapping[str, Any]
    signed_data: bytes  # the signed data
    payload: bytes
    signature: bytes


def parse_compact_jws(token: bytes) -> SignedToken:
    """Split a compact JWS and decode its header and signature. The payload must not be decoded before the signature is
    verified. Raises Malformed, whose message does not contain the input."""
    if len(token) > MAX_LENGTH:
        raise Malformed(f'the token is longer than {MAX_LENGTH} bytes')
    parts = token.split(b'.')
    if len(parts) != 3:
        raise Malformed(f'the token has {len(parts)} parts, and a signed one has 3')
    header, payload, signature = map(_decode_part, parts)
    return SignedToken(decode_object(header), token[: token.rindex(b'.')], payload, signature)


def _decode_part(part: bytes) -> bytes:
    """Decode base64url without padding (RFC 7515 §2). Spare bits must be zero: otherwise a token would have several
    representations."""
    try:
        decoded = urlsafe_b64decode(part + b'=' * (-len(part) % 4))
    except Error:
        decoded = b''
    if urlsafe_b64encode(decoded).rstrip(b'=') != part:
        raise Malformed('the token is not in base64url')
    return decoded
