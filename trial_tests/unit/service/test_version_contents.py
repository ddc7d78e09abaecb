"""zatotx.service.deployment.version_contents: the contents of many versions are read with few queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from zatotx.interfaces.config import IConfigStore
from zatotx.model.errors import NotFound
from zatotx.service.deployment.version_contents import READ_AHEAD, VersionContents


class RecordingStore:
    """Holds contents of versions, and records the queries."""

    def __init__(self, stored: Mapping[int, bytes]) -> None:
        self.stored = stored
        self.queries: list[Any] = []

    def version_contents(self, version_ids: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        self.queries.append(list(version_ids))
        return succeed({each: self.stored[each] for each in version_ids if each in self.stored})

    def version_content(self, version_id: int) -> Deferred[bytes]:
        self.queries.append(version_id)
        stored = self.stored.get(version_id)
        return fail(NotFound(None, 'not kept')) if stored is None else succeed(stored)


class VersionContentsTests(TestCase):
    def setUp(self) -> None:
        self.store = RecordingStore({number: b'%d' % number for number in range(100)})

    def contents(self, version_ids: Sequence[int]) -> VersionContents:
        return VersionContents(cast(IConfigStore, self.store), version_ids)

    async def test_groups(self) -> None:
        """One query reads the next versions; each content is that of its version."""
        wanted = list(range(READ_AHEAD + 5))
        contents = self.contents(wanted)
        self.assertEqual([await contents.pop(each) for each in wanted], [b'%d' % each for each in wanted])
        self.assertEqual(self.store.queries, [wanted[:READ_AHEAD], wanted[READ_AHEAD:]])

    async def test_skipped_versions(self) -> None:
        """Versions that turn out not to be needed are not waited for, and not read if they come before the others."""
        contents = self.contents([1, 2, 3])
        self.assertEqual((await contents.pop(2), await contents.pop(3)), (b'2', b'3'))
        self.assertEqual(self.store.queries, [[2, 3]])

    async def test_other_versions(self) -> None:
        """Any other version is read by itself, also a second time; one that is not stored is an error."""
        contents = self.contents([1, 200])
        self.assertEqual((await contents.pop(7), await contents.pop(1), await contents.pop(1)), (b'7', b'1', b'1'))
        await self.assertFailure(Deferred.fromCoroutine(contents.pop(200)), NotFound)
        self.assertEqual(self.store.queries, [7, [1, 200], 1, 200])
