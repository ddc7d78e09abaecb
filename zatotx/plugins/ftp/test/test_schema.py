"""The object type of outgoing FTP connections."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ftp.schema.outgoing_ftp import OUTGOING_FTP
from zatotx.schema.validation import validate


class ZatoNamesTests(SynchronousTestCase):
    def test_use_ftps(self) -> None:
        """Zato's `use_ftps` stands for `tls`; `tls` itself has precedence."""
        for fields, tls in (({'use_ftps': True}, True), ({'use_ftps': 'true'}, True), ({'use_ftps': False}, False),
                            ({'use_ftps': True, 'tls': 'implicit'}, 'implicit'), ({}, False)):  # fmt: skip
            value, errors = validate(OUTGOING_FTP, {'name': 'a', 'host': 'h', **fields})
            self.assertEqual((errors, value.tls), ([], tls))
