"""Applies a configuration in two phases: all components prepare their changes, then all changes are committed at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from zatotx.interfaces.config import Prepare, PreparedConfig
from zatotx.schema.snapshot import Snapshot


async def prepare_all(preparers: Sequence[Prepare], snapshot: Snapshot) -> list[PreparedConfig]:
    """Return the prepared changes of all `preparers`, in their order. If one raises, those already prepared are
    discarded, the error is raised, and the current configuration stays in force."""
    prepared: list[PreparedConfig] = []
    try:
        for prepare in preparers:
            prepared.append(await prepare(snapshot))
    except BaseException:
        for part in prepared:
            part.discard()
        raise
    return prepared


def commit_all(prepared: Sequence[PreparedConfig]) -> list[Awaitable[None]]:
    """Commit the prepared changes. Nothing is awaited between the commits, so no request is served by a mix of old and
    new components. If one fails the others are committed anyway, and its error is raised at the end. Returns the
    awaitables that finish the changes."""
    finishing_steps: list[Awaitable[None]] = []
    first_error: Exception | None = None
    for part in prepared:
        try:
            finishing = part.commit()
        except Exception as error:
            first_error = first_error or error
            continue
        if finishing is not None:
            finishing_steps.append(finishing)
    if first_error is not None:
        raise first_error
    return finishing_steps
