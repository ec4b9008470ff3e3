"""Public keys that check tokens: which algorithm each is for, and how one is read from a file.

A key's type decides its algorithm, and its size whether it is strong enough: RSA of 2048 bits or
more is RS256 (RFC 7518 §3.3), an elliptic curve key on P-256 is ES256 (§3.4), anything else is of
no use. P-256 is told by the curve itself: secp256k1 has as many bits.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sfs_server.config import ConfigError

MIN_RSA_BITS = 2048
MAX_FILE_BYTES = 64 * 1024


def algorithm_of(public: object) -> str | None:
    """The algorithm for a public key by its type and size; None if it is of no use."""
    if isinstance(public, rsa.RSAPublicKey):
        return "RS256" if public.key_size >= MIN_RSA_BITS else None
    if isinstance(public, ec.EllipticCurvePublicKey):
        return "ES256" if isinstance(public.curve, ec.SECP256R1) else None
    return None


def read_public_key(path: str) -> tuple[str, object]:
    """Return the algorithm, and the key as cryptography has it, of the PEM file ``path``.

    Raises ConfigError, which names the path as the operator typed it and says what to give instead.
    """
    flag = f"-jwt-public-key {path}"
    try:
        with open(path, "rb") as file:
            pem = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"{flag}: the file cannot be read: {error.strerror}.") from None
    if b"PRIVATE KEY-----" in pem:
        raise ConfigError(
            f"{flag}: this is a private key, which this service must not have. Give its public "
            "half: openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem"
        )
    if b"BEGIN CERTIFICATE-----" in pem:
        raise ConfigError(
            f"{flag}: this is a certificate. Give the public key in it: "
            "openssl x509 -in CERTIFICATE.pem -pubkey -noout"
        )
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{flag}: this is not a public key in PEM form, a file that begins with "
            "-----BEGIN PUBLIC KEY-----."
        ) from None
    algorithm = algorithm_of(public)
    if algorithm is None:
        raise ConfigError(
            f"{flag}: this key is of no use here. Give an RSA key of at least {MIN_RSA_BITS} bits, "
            "or an elliptic curve key on P-256."
        )
    return algorithm, public
