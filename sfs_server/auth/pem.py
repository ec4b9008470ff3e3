"""Public keys that check tokens: the algorithm of each, and reading one from a PEM file.

The type of a key decides its algorithm: RSA with 2048 bits or more is RS256 (RFC 7518 §3.3), an
elliptic curve key on P-256 is ES256 (§3.4). Other keys are refused. The curve itself is compared,
not its number of bits, because secp256k1 has 256 too.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sfs_server.config import ConfigError

MIN_RSA_BITS = 2048
"""The length of the shortest RSA key that is accepted (RFC 7518 §3.3)."""

MAX_FILE_BYTES = 64 * 1024
"""How much of a PEM file is read."""


def algorithm_of(public: object) -> str | None:
    """The algorithm of a public key of ``cryptography``: RS256, ES256, or None if the key is too
    weak or of another type."""
    if isinstance(public, rsa.RSAPublicKey):
        return "RS256" if public.key_size >= MIN_RSA_BITS else None
    if isinstance(public, ec.EllipticCurvePublicKey):
        return "ES256" if isinstance(public.curve, ec.SECP256R1) else None
    return None


def read_public_key(path: str) -> tuple[str, object]:
    """Read the public key in the PEM file ``path``, and return its algorithm (RS256 or ES256) and
    the key, an object of ``cryptography``.

    Raises ConfigError; its text repeats ``path``, and says what to give instead.
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
            f"{flag}: this is not a public key in PEM form, a file that starts with "
            "-----BEGIN PUBLIC KEY-----."
        ) from None
    algorithm = algorithm_of(public)
    if algorithm is None:
        raise ConfigError(
            f"{flag}: this key is of no use here. Give an RSA key of at least {MIN_RSA_BITS} bits, "
            "or an elliptic curve key on P-256."
        )
    return algorithm, public
