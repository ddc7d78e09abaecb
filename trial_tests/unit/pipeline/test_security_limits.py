"""The limits of authentication, as numbers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.pipeline.security import any_of_authenticator, authentication_policy, password_verifier, secret_comparison
from zatotx.rules.security.client_certificate_validation import MAX_CERTIFICATES
from zatotx.security import basic_auth
from zatotx.security.jwt import authenticator as jwt
from zatotx.security.jwt import jwks
from zatotx.security.mtls import authenticator as mtls


class LimitTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """Whoever changes one of them decides how much memory and time strangers may take."""
        self.assertEqual((basic_auth.CACHE_SIZE, jwt.CACHE_SIZE, mtls.CACHE_SIZE), (10_000, 5_000, 1_000))
        self.assertEqual((jwks.MAX_WAIT, jwks.FETCH_TIMEOUT, jwks.MAX_DOCUMENT_SIZE, jwks.MAX_WAITING),
                         (2.0, 10.0, 524_288, 1_000))  # fmt: skip
        self.assertEqual((password_verifier.MAX_CONCURRENT, password_verifier.MAX_WAITING,
                          password_verifier.MAX_WAITING_PER_NETWORK), (2, 200, 50))  # fmt: skip
        self.assertEqual((secret_comparison.MAX_WAITING, secret_comparison.MAX_ATTEMPTS_PER_NETWORK,
                          secret_comparison.MAX_ADDRESSES), (1_000, 32, 10_000))  # fmt: skip
        self.assertEqual((any_of_authenticator.MAX_CHALLENGES, authentication_policy.MAX_FORMER_NAMES,
                          MAX_CERTIFICATES), (16, 1_000, 10))  # fmt: skip
