"""A new configuration in two phases: all parts of a node build theirs, then all of it is brought into force at once."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from zatotx.interfaces.config import Prepare, Prepared
from zatotx.schema.snapshot import Snapshot


async def prepare_all(preparers: Sequence[Prepare], snapshot: Snapshot) -> list[Prepared]:
    """All that the snapshot changes, built, in the order of `preparers`. Raises what one of them raises: then what the
    others have built is discarded, and what was in force stays."""
    prepared: list[Prepared] = []
    try:
        for prepare in preparers:
            prepared.append(await prepare(snapshot))
    except BaseException:
        for part in prepared:
            part.discard()
        raise
    return prepared


def commit_all(prepared: Sequence[Prepared]) -> list[Awaitable[None]]:
    """Bring it into force. Nothing is awaited among the commits: no request is served by a part that is old and a part
    that is new. Where one fails the others are made nevertheless, and its error is raised at the end. Returns what is
    to be awaited afterwards."""
    after: list[Awaitable[None]] = []
    failed: Exception | None = None
    for part in prepared:
        try:
            finishing = part.commit()
        except Exception as error:
            failed = failed or error
            continue
        if finishing is not None:
            after.append(finishing)
    if failed is not None:
        raise failed
    return after
