"""The health check of an ODB on every database: its figures and its findings."""

from __future__ import annotations

import time

from trial_tests.support.odb import CLUSTER, KEY, OdbCase, on_every_database
from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.odb_health import check_odb_health
from zatotx.odb.offline_operations import open_database
from zatotx.odb.secrets import new_key


@on_every_database
class OdbHealthTests(OdbCase):
    def test_what_it_tells(self) -> None:
        """Revision, nodes, size and clock are reported, without a password and without side effects."""
        before = self.sql('SELECT revision FROM cluster')
        found = check_odb_health(self.database())
        self.assertEqual([row.name for row in found.nodes], ['server1'])
        self.assertEqual(found.revision, before[0][0])
        self.assertGreater(found.size, 10_000)
        self.assertLess(abs(found.clock_offset), 1.0 + found.round_trip)  # of one machine
        self.assertNotIn('sEcReT', found.url)
        self.assertEqual(self.sql('SELECT revision FROM cluster'), before)

    def test_key_and_cluster(self) -> None:
        """Another key and a missing cluster are reported."""
        for key, cluster, words in ((new_key(), CLUSTER, 'key'), (KEY, 'nowhere', "'nowhere'")):
            database = open_database(self.url, key, cluster=cluster, types=self.types)
            error = self.assertRaises(ServiceUnavailable, check_odb_health, database)
            self.assertIn(words, error.msg)

    def test_no_writes(self) -> None:
        """A database that rejects writes is reported within seconds; without the write check it is healthy."""
        if self.database_kind == 'sqlite':
            self.sql('CREATE TRIGGER stop BEFORE UPDATE ON cluster BEGIN SELECT RAISE(ABORT, \'read-only\'); END')
        elif self.database_kind == 'postgresql':
            name = self.url.rpartition('/')[2].partition('?')[0]
            self.sql(f'ALTER DATABASE {name} SET default_transaction_read_only = on')
        else:
            self.sql("CREATE TRIGGER stop BEFORE UPDATE ON cluster FOR EACH ROW SIGNAL SQLSTATE '45000'")
        began = time.monotonic()
        error = self.assertRaises(ServiceUnavailable, check_odb_health, self.database())
        self.assertIn('rejects writes', error.msg)
        self.assertNotIn('sEcReT', error.msg)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(check_odb_health(self.database(), write=False).nodes[0].name, 'server1')
