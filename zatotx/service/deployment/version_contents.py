"""Reads the stored contents of many versions with few queries."""

from __future__ import annotations

from collections.abc import Iterable

from zatotx.interfaces.config import IConfigStore

READ_AHEAD = 20  # versions that one query reads: a package may have megabytes


class VersionContents:
    """Reads the contents of versions in groups, in the order in which they are needed.

    A node with a hundred files loads them one after another when it starts; a query for each would take a tenth of the
    CPU time of the start.
    """

    def __init__(self, odb: IConfigStore, version_ids: Iterable[int]) -> None:
        """`version_ids`: the versions that will be needed, in this order. Others can be read too, one by one."""
        self._odb = odb
        self._unread = list(version_ids)
        self._contents: dict[int, bytes] = {}

    async def pop(self, version_id: int) -> bytes:
        """Return the content of a version, which is not kept. Raises NotFound."""
        if version_id in self._unread:
            position = self._unread.index(version_id)
            group = self._unread[position : position + READ_AHEAD]
            del self._unread[: position + READ_AHEAD]
            self._contents = dict(await self._odb.version_contents(group))
        content = self._contents.pop(version_id, None)
        return await self._odb.version_content(version_id) if content is None else content
