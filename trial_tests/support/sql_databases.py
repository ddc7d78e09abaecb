"""SQL connections of a node without the node, to real databases, called as services do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from trial_tests.support import mariadb, postgresql
from trial_tests.support.calling import Asking
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.metrics.meters import MeterRegistry
from zatotx.plugins.sql.outgoing import make_outgoing
from zatotx.plugins.sql.schema import OBJECT_TYPES
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate

PATIENCE = 30.0  # seconds


@implementer(IServiceCall)
class BlockingCall(Asking):
    """The call of a `def` service: methods block its thread."""

    tied: Any = None

    def run(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """For the thread."""
        from trial_tests.support.reactor import reactor

        running: Any = reactor
        return blockingCallFromThread(running, lambda: Deferred.fromCoroutine(begin()))

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """Kept for the test, which ends the request by cancelling it."""
        self.tied = deferred


class WithDatabase(TestCase):
    """A test with SQL connections."""

    timeout = 120.0

    def setUp(self) -> None:
        from trial_tests.support.reactor import reactor

        self.reactor: Any = reactor
        self.meters = MeterRegistry()
        self.outgoing: Any = make_outgoing(OutgoingContext(
            reactor=reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    def url(self) -> str:
        """The URL of a database of the test's own."""
        raise NotImplementedError

    async def configure(self, **fields: Any) -> None:
        """Bring a connection named CRM into force."""
        value, errors = validate(OBJECT_TYPES[0], {'name': 'CRM', **fields})
        self.assertEqual(errors, [])
        await self.outgoing.apply(Snapshot(1, [StoredObject(1, 'sql', value, 1)]))

    def crm(self, call: Any = None) -> Any:
        """`self.out.sql['CRM']` of one call."""
        return self.outgoing.namespaces['sql'](call or Asking())['CRM']

    def connection(self) -> Any:
        """The SqlConnection."""
        return self.outgoing.registries['sql'].connections['CRM']

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run what a `def` service does."""
        return deferToThread(function, *args)

    def started(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """It, under way."""
        return Deferred.fromCoroutine(coroutine)

    async def failure(self, awaitable: Any, *kinds: type[BaseException]) -> Any:
        """What it raises, which must be of one of those kinds."""

        async def run() -> Any:
            return await awaitable

        return await self.assertFailure(Deferred.fromCoroutine(run()), *kinds)

    def sleep(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def until(self, is_true: Callable[[], object]) -> None:
        """Wait for it."""
        end = self.reactor.seconds() + PATIENCE
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError('It does not come')
            await self.sleep(0.02)


class WithSQLite(WithDatabase):
    """A test with an SQLite file."""

    slow = ('with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000000) '
            'select count(*) from n')  # fmt: skip

    def url(self) -> str:
        return f'sqlite:///{Path(self.mktemp()).absolute()}'


class WithPostgreSQL(WithDatabase):
    """A test with a PostgreSQL database."""

    slow = 'select pg_sleep(60)'

    def url(self) -> str:
        return postgresql.shared().fresh().replace('+psycopg', '')

    def active(self, server: postgresql.PostgreSQL | None = None) -> list[Any]:
        """The statements under way at the server, without this one."""
        return (server or postgresql.shared()).ask(
            "select query from pg_stat_activity where state = 'active' and application_name = 'zatotx'"
        )


class WithMariaDB(WithDatabase):
    """A test with a MariaDB database."""

    slow = 'select sleep(60)'

    def url(self) -> str:
        return mariadb.shared().fresh().replace('+pymysql', '')
