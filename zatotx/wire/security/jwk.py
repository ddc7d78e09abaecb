"""Keys that signatures of tokens are verified with: PEM, secrets and JSON Web Keys (RFC 7517) to values.

Which algorithms a key is good for follows from the key: nobody can have an RSA key taken for the secret of an HMAC
(RFC 8725 §2.1). Keys that are too weak for RFC 7518 are no keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from zatotx.wire.json.unique_members import decode_object
from zatotx.wire.malformed import Malformed

HMAC_BYTES: Mapping[str, int] = {'HS256': 32, 'HS384': 48, 'HS512': 64}  # RFC 7518 §3.2: as long as the hash
_RSA = frozenset({'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'})
_CURVES: Mapping[str, str] = {'secp256r1': 'ES256', 'secp384r1': 'ES384', 'secp521r1': 'ES512'}
_LEAST_RSA, _MOST_RSA = 2048, 8192  # bits; RFC 7518 §3.3; over it a signature takes milliseconds to verify
_MOST_KEYS = 1_000  # of one set: issuers have a handful, one for each of their customers at worst
_PUBLIC_TYPES: Mapping[str, str] = {'RSA': 'RS256', 'EC': 'ES256', 'OKP': 'EdDSA'}  # kty -> who of PyJWT reads it
_library = get_default_algorithms()


@frozen
class VerificationKey:
    """One key, and what it may be used with."""

    material: Any = field(repr=False)  # of cryptography, or the bytes of a secret
    algorithms: frozenset[str]
    kid: str | None = None

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether the signature is of this key. Takes a millisecond at most. False for what the key is not for."""
        return algorithm in self.algorithms and bool(_library[algorithm].verify(message, self.material, signature))


def key_of_secret(secret: str) -> VerificationKey:
    """A secret that both sides know. Raises Malformed, which does not repeat it: too short for any algorithm, a public
    key, which everybody knows."""
    material = secret.encode('utf-8')
    algorithms = frozenset(name for name, least in HMAC_BYTES.items() if len(material) >= least)
    if not algorithms:
        raise Malformed(f'has {len(material)} bytes, and the shortest hash needs {min(HMAC_BYTES.values())}')
    try:
        _library['HS256'].prepare_key(material)
    except InvalidKeyError:
        raise Malformed('is a key or certificate that others may know: a secret is random text') from None
    return VerificationKey(material, algorithms)


def key_of_pem(text: str) -> VerificationKey:
    """A public key, or that of a certificate. Raises Malformed: what it is instead, and why it will not do."""
    if 'PRIVATE KEY-----' in text:
        raise Malformed('is a private key: give the public one')
    data = text.encode('utf-8')
    try:
        found = load_pem_x509_certificate(data).public_key() if 'BEGIN CERT' in text else load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed('holds no public key in PEM form') from None
    return VerificationKey(found, _algorithms(found))


def key_of_jwk(jwk: Mapping[str, Any]) -> VerificationKey:
    """A key that an issuer publishes. Raises Malformed: it is for something else than verifying signatures, private,
    weak, or not to be read."""
    kty, kid = jwk.get('kty'), jwk.get('kid')
    if not isinstance(kty, str) or kty not in _PUBLIC_TYPES:
        raise Malformed('is of no type that has public keys')
    if 'd' in jwk:
        raise Malformed('is a private key that was published')
    if jwk.get('use', 'sig') != 'sig' or not _may_verify(jwk.get('key_ops', ['verify'])):
        raise Malformed('is not for verifying signatures')
    if kid is not None and not isinstance(kid, str):
        raise Malformed('has a kid that is no text')
    try:
        found: Any = _library[_PUBLIC_TYPES[kty]].from_jwk(dict(jwk))
    except Exception:  # whatever the parsers of two libraries come up with: it is no key
        raise Malformed('cannot be read') from None
    algorithms = _algorithms(found)
    if 'alg' in jwk:
        algorithms &= {str(jwk['alg'])}
    if not algorithms:
        raise Malformed('has an alg that does not fit it')
    return VerificationKey(found, algorithms, kid)


def read_key_set(body: bytes) -> tuple[list[VerificationKey], list[str]]:
    """The keys of a JWK Set (RFC 7517 §5) that may verify signatures, each once, and why each other one may not.
    Raises Malformed where it is none."""
    listed = decode_object(body).get('keys')
    if not isinstance(listed, list):
        raise Malformed('the document has no list called keys')
    if len(listed) > _MOST_KEYS:
        raise Malformed(f'the document has {len(listed)} keys: more than {_MOST_KEYS}')
    keys: list[VerificationKey] = []
    alike: dict[str | None, list[VerificationKey]] = {}  # by kid: comparing each with all others takes most of the time
    wrong = []
    for number, jwk in enumerate(listed, 1):
        try:
            key = key_of_jwk(jwk if isinstance(jwk, dict) else {})
        except Malformed as error:
            wrong.append(f'key {number} {error}')
        else:
            others = alike.setdefault(key.kid, [])
            if key not in others:
                others.append(key)
                keys.append(key)
    return keys, wrong


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and 'verify' in operations


def _algorithms(key: Any) -> frozenset[str]:
    """What a public key is good for, by its type and curve."""
    if isinstance(key, RSAPublicKey):
        if not _LEAST_RSA <= key.key_size <= _MOST_RSA:
            raise Malformed(f'is an RSA key of {key.key_size} bits: it must have {_LEAST_RSA} to {_MOST_RSA}')
        return _RSA
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return frozenset({'EdDSA'})
    raise Malformed('is of a type or curve that no algorithm here uses')
