"""Converts exceptions of database threads to errors of the data model. Their messages contain the name of the
connection, and never a password.
"""

from __future__ import annotations

from attrs import frozen
from sqlalchemy.exc import DBAPIError, StatementError

from zatotx.connectors.blocking_pool import BlockingPoolClosed, SlotHeldByCaller
from zatotx.connectors.call_policies import CallTimedOut
from zatotx.model.errors import BadGateway, ServiceError, ServiceUnavailable, Timeout, TransactionAborted
from zatotx.plugins.sql.cancellation import StatementAbandoned
from zatotx.plugins.sql.database import CommitUnconfirmed, ConnectFailed, ResultTooLarge
from zatotx.plugins.sql.drivers.base import CANCELLED, RETRYABLE, UNAVAILABLE, DatabaseDriver
from zatotx.wire.url_masking import MASK, mask_urls


@frozen(kw_only=True)
class ErrorMapping:
    """Converts the errors of one SQL connection. `password` is removed from the messages of the errors."""

    title: str
    driver: DatabaseDriver
    pool_size: int
    max_result_size: int
    password: str

    def map(self, error: BaseException, cid: str) -> BaseException:
        """Return the error to raise: Timeout, ServiceUnavailable, TransactionAborted, ValueError for a number that the
        database does not have; errors of the statement are SQLAlchemy's own, with the name of the connection added.

        The text of the first three reaches the callers of services, so that it shows nothing of the database: see
        `explain`.
        """
        if isinstance(error, CallTimedOut):
            return Timeout(cid, f'{self.title} gave {error}')
        if isinstance(error, BlockingPoolClosed | StatementAbandoned):
            return ServiceUnavailable(cid, f'{self.title} is being closed')
        if isinstance(error, SlotHeldByCaller):
            return ServiceUnavailable(
                cid, f'{self.title} cannot be used: all {self.pool_size} connections of its pool are held by '
                'transactions or sessions of this request itself: end them first, or raise pool_size',
            )  # fmt: skip
        if isinstance(error, TransactionAborted):
            return TransactionAborted(cid, f'{self.title}: {error.msg}')
        if isinstance(error, CommitUnconfirmed):
            return ServiceUnavailable(cid, f'{self.title} did not confirm a commit: check whether it was made')
        if isinstance(error, ResultTooLarge):
            return BadGateway(
                cid, f'{self.title}: the result of a statement is larger than {self.max_result_size} bytes: read it '
                'with stream, or raise max_result_size',
            )  # fmt: skip
        if isinstance(error, ConnectFailed):
            return self._unreachable(cid)
        if isinstance(error, OverflowError):  # of SQLite's driver
            return ValueError(f'{self.title}: a number is too large for {self.driver.title}')
        if isinstance(error, DBAPIError):
            return self._of_database(error, cid)
        if isinstance(error, StatementError):
            error.add_detail(self.title)
        return error

    def explain(self, error: BaseException) -> str:
        """Return the cause of an error that `map` has mapped, for logs and findings: '' if there is no more to say."""
        if isinstance(error, ConnectFailed | CommitUnconfirmed):
            error = error.cause
        if isinstance(error, DBAPIError) and error.orig is not None:
            error = error.orig
        elif isinstance(error, CallTimedOut | BlockingPoolClosed | StatementAbandoned | SlotHeldByCaller):
            return ''
        text = mask_urls(self.driver.message(error))
        return text.replace(self.password, MASK) if self.password else text

    def _of_database(self, error: DBAPIError, cid: str) -> BaseException:
        kind = self.driver.classify(error.orig if error.orig is not None else error)
        if error.connection_invalidated or kind is UNAVAILABLE:
            return self._unreachable(cid)
        if kind is RETRYABLE:
            return TransactionAborted(cid, f'{self.title}: the database has rolled the transaction back in favor of '
                                      'another one: it may succeed if it is repeated')  # fmt: skip
        if kind is CANCELLED:
            return Timeout(cid, f'{self.title}: the statement was cancelled at the database')
        error.add_detail(self.title)
        return error

    def _unreachable(self, cid: str) -> ServiceError:
        return ServiceUnavailable(cid, f'{self.title} cannot be used: its database cannot be reached')
