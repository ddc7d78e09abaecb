"""Interface for storing dead letters, which are messages whose processing failed permanently. They are kept until an
administrator replays or deletes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.work_message import WorkMessage


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Criteria that select dead letters."""

    ids: tuple[str, ...] = ()  # of the messages; () = all
    service: str = ''  # '' = of all services
    limit: int = 0  # 0 = no limit


class IDeadLetterStore(Interface):
    """Stores dead letters of all kinds of channels in the ODB, at most one for each message. A dead letter is stored as
    a WorkMessage, which processes the message again when it is replayed. Every method fails with ServiceUnavailable or
    Timeout if the database is unavailable."""

    def store_dead_letter(message: WorkMessage) -> Deferred[None]:
        """Store a dead letter, or replace the one with the same message id. Fires when it is committed."""

    def dead_letters(which: DeadLetterFilter) -> Deferred[list[WorkMessage]]:
        """Return dead letters, those that failed last first."""

    def edit_dead_letter(message: WorkMessage) -> Deferred[None]:
        """Replace the content of a dead letter. Raises NotFound."""

    def remove_dead_letters(messages: Sequence[WorkMessage]) -> Deferred[int]:
        """Remove dead letters, except those that have failed again since they were read. Fires with the number of
        removed ones."""

    def count_dead_letters() -> Deferred[int]:
        """Return the number of all dead letters."""
