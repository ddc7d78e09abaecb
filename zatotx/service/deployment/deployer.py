"""Brings code to every node, and each node level with the code the ODB calls active.

The ODB's rows are the truth: a version is active from the one transaction that stored it, so a node killed at any
moment finds all of a deployment after its restart, or nothing.

How a node uses it (zatotx.node):

- `VersionKeeper` is made once a node. `await keeper.load()` at start; `keeper.prepare_level` prepares each new
  snapshot; `keeper.verdicts` goes out with every beat.
- `Deployer` is `INode.deployer`. Its `bring(revision)` is the node's own: be level with that revision, tell the
  others to look, which the deployment does not wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from shutil import rmtree
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.config import (
    FileVersion,
    IConfig,
    IConfigStore,
    OutdatedSnapshot,
    Prepared,
)
from zatotx.interfaces.node import DeployReport, IDeployer
from zatotx.model.errors import BadRequest, Conflict, NotFound, ServiceUnavailable, Timeout
from zatotx.schema.snapshot import Actor, Snapshot
from zatotx.schema.suggestion import did_you_mean
from zatotx.service.deployment.import_thread import DEADLINE, in_import_thread
from zatotx.service.deployment.module_importer import load
from zatotx.service.deployment.package import SourcePackage, accept, restore
from zatotx.service.deployment.service_checks import CheckedVersion, announce_added, check_services
from zatotx.service.service_store import ServiceStore, resolve_conflicts

VERDICT_WAIT = DEADLINE + 10  # seconds the other nodes have to import a version too


@define(kw_only=True, eq=False)
class VersionKeeper:
    """Runs the active version of every file on this node, or the one before where the new one is bad here."""

    odb: IConfigStore
    store: ServiceStore
    directory: Path  # the node's work/deployed
    reactor: Any
    offload: Callable[..., Deferred[Any]]
    verdicts: dict[int, str] = field(factory=dict, init=False)  # id of an active version -> '' (it runs), or why not
    _running: dict[str, CheckedVersion] = field(factory=dict, init=False)  # by file
    _ids: dict[str, int] = field(factory=dict, init=False)  # file -> id of the version whose turn it was last
    _prepared: dict[tuple[str, str], CheckedVersion] = field(factory=dict, init=False)  # by file and hash
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    _log = Logger()

    async def load(self) -> None:
        """At the start of a node: run all active versions. A file whose active version is bad here runs the newest
        older one that is not; the verdict says so."""
        versions = await self.odb.versions()
        await self.offload(_forget_others, self.directory, {version.sha256 for version in versions})
        await self._level()

    async def apply(self, snapshot: Snapshot) -> None:
        """At the start of a node: be level with a snapshot, by the code that is active now."""
        await self._commit(snapshot, await self._follow())

    async def prepare_level(self, snapshot: Snapshot) -> Prepared:
        """Import what a new snapshot needs. The commit switches services on and off, limits them, and swaps in the
        active versions. Raises OutdatedSnapshot where one of these was made active after the snapshot."""
        await self._lock.acquire()  # until the commit: what was imported must not go in after something newer
        try:
            swap = await self._follow(snapshot.revision)
        except BaseException:
            self._lock.release()
            raise
        return Prepared(partial(self._commit_and_release, snapshot, swap), self._lock.release)

    def _commit_and_release(
        self, snapshot: Snapshot, swap: Callable[[], Mapping[str, CheckedVersion]]
    ) -> Deferred[None]:
        try:
            return self._commit(snapshot, swap)
        finally:
            self._lock.release()

    def _commit(self, snapshot: Snapshot, swap: Callable[[], Mapping[str, CheckedVersion]]) -> Deferred[None]:
        rows = snapshot.of('service')
        self.store.switch(frozenset(row.name for row in rows if not row.value.is_active))
        self.store.limit({row.name: row.value.max_in_flight for row in rows if row.value.max_in_flight})
        self.store.demand({row.name: tuple(row.value.roles) for row in rows if row.value.roles})
        return Deferred.fromCoroutine(self._announce(swap()))

    async def retry(self) -> None:
        """Judge anew what was refused here: the reason may be gone (a library installed since)."""
        self._ids = {file: id_ for file, id_ in self._ids.items() if not self.verdicts.get(id_)}
        await self._level()

    async def _level(self) -> None:
        await self._lock.acquire()
        try:
            fresh = (await self._follow())()
        finally:
            self._lock.release()
        await self._announce(fresh)

    async def prepare(self, source: SourcePackage) -> CheckedVersion:
        """Import the source aside and check it. Kept until `release`, so that it is not imported twice. Raises
        BadRequest saying where it is bad."""
        checked = await self._check(source)
        self._prepared[source.file, source.sha256] = checked
        return checked

    def release(self, source: SourcePackage) -> None:
        """What was prepared of it has been used, or will not be."""
        self._prepared.pop((source.file, source.sha256), None)

    async def _check(self, source: SourcePackage) -> CheckedVersion:
        def import_and_check() -> CheckedVersion:
            return check_services(load(source, self.directory))

        checked: CheckedVersion = await in_import_thread(self.reactor, import_and_check, source, doing='the import')
        return checked

    async def _follow(self, newest: float = inf) -> Callable[[], Mapping[str, CheckedVersion]]:
        """Import what is active and does not run yet. Returns what swaps all of it in at once, and gives what is new.
        Raises OutdatedSnapshot where a version is active since a revision after `newest`."""
        versions = await self.odb.versions()
        active = {version.file: version for version in versions if version.active}
        if any(version.revision > newest for version in active.values()):
            raise OutdatedSnapshot
        verdicts: dict[int, str] = {}
        fresh: dict[str, CheckedVersion] = {}
        for version in active.values():
            if self._ids.get(version.file) == version.id:
                verdicts[version.id] = self.verdicts.get(version.id, '')
            else:
                verdicts[version.id] = await self._bring(version, versions, fresh)
        return partial(self._swap, active, fresh, verdicts)

    async def _bring(self, version: FileVersion, versions: list[FileVersion], fresh: dict[str, CheckedVersion]) -> str:
        """Put into `fresh` what is to run of a file from now on; the verdict on the active version."""
        running = self._running.get(version.file)
        if running is not None and running.source.sha256 == version.sha256:
            return ''
        try:
            fresh[version.file] = await self._fetch(version)
            return ''
        except BadRequest as refused:
            verdict = refused.msg
        if running is not None:
            self._log.error('{file} version {number} is refused here, the one before goes on: {why}',
                            file=version.file, number=version.number, why=verdict)
            return verdict
        older = [v for v in versions if v.file == version.file and v.number < version.number]
        for candidate in sorted(older, key=lambda v: -v.number):
            with suppress(BadRequest):
                fresh[version.file] = await self._fetch(candidate)
                self._log.error('{file} version {number} is refused here, version {older} runs instead: {why}',
                                file=version.file, number=version.number, older=candidate.number, why=verdict)
                return verdict
        self._log.error('{file} version {number} is refused here and no older one can run: {why}',
                        file=version.file, number=version.number, why=verdict)
        return verdict

    async def _fetch(self, version: FileVersion) -> CheckedVersion:
        checked = self._prepared.get((version.file, version.sha256))
        if checked is None:
            content = await self.odb.version_content(version.id)
            source: SourcePackage = await self.offload(restore, version.file, version.form, content)
            checked = await self._check(source)
        checked.number = version.number
        return checked

    def _swap(
        self, active: Mapping[str, FileVersion], fresh: dict[str, CheckedVersion], verdicts: dict[int, str]
    ) -> Mapping[str, CheckedVersion]:
        """Everything at once. Returns what of `fresh` runs now."""
        running = {file: checked for file, checked in self._running.items() if file in active}
        files, clashes = resolve_conflicts(running, fresh)
        for file, why in clashes.items():
            verdicts[active[file].id] = why
            fresh.pop(file, None)
            self._log.error('{file} version {number} is refused here: {why}',
                            file=file, number=active[file].number, why=why)
        self._running = files
        self._ids = {file: version.id for file, version in active.items()}
        self.verdicts = verdicts
        self.store.swap(files)
        return fresh

    async def _announce(self, fresh: Mapping[str, CheckedVersion]) -> None:
        """Services that have just been added hear of it (`after_add_to_store`), in a thread as it is their code."""
        for checked in fresh.values():
            if checked.wants_announcement:
                try:
                    announce = partial(announce_added, checked)
                    await in_import_thread(self.reactor, announce, checked.source, doing='after_add_to_store')
                except BadRequest as e:
                    self._log.error('{why}', why=e.msg)


def _forget_others(directory: Path, kept: set[str]) -> None:
    """Remove the files of versions that are no longer kept. Blocking."""
    if directory.is_dir():
        for found in directory.iterdir():
            if found.name not in kept:
                rmtree(found, ignore_errors=True)


@implementer(IDeployer)
@define(kw_only=True, eq=False)
class Deployer:
    """Deploys to the whole cluster, one file at a time a node: others wait for their turn."""

    odb: IConfigStore
    config: IConfig
    keeper: VersionKeeper
    bring: Callable[[int], Awaitable[None]]
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    def deploy(self, file: str, content: bytes, actor: Actor) -> Deferred[DeployReport]:
        report: Deferred[DeployReport] = self._lock.run(
            lambda: Deferred.fromCoroutine(self._deploy(file, content, actor))
        )
        return report

    def rollback(self, name: str, number: int | None, actor: Actor) -> Deferred[DeployReport]:
        report: Deferred[DeployReport] = self._lock.run(
            lambda: Deferred.fromCoroutine(self._rollback(name, number, actor))
        )
        return report

    async def _deploy(self, file: str, content: bytes, actor: Actor) -> DeployReport:
        source: SourcePackage = await self.keeper.offload(accept, file, content)
        checked = await self.keeper.prepare(source)
        try:
            names = sorted(checked.services)
            try:
                version = await self.odb.add_version(source.file, source.form, source.content, names, actor)
            except Conflict as e:
                places = ', '.join(checked.place(name) for name in names if repr(name) in e.msg)
                raise Conflict(None, f'{places or source.file}: {e.msg}') from e
            if self.keeper.verdicts.get(version.id):  # the same code again, and this time it is good here
                await self.keeper.retry()
            return await self._everywhere(version)
        finally:
            self.keeper.release(source)

    async def _rollback(self, name: str, number: int | None, actor: Actor) -> DeployReport:
        target = describe_version(await self.odb.versions(), name, number)
        content = await self.odb.version_content(target.id)
        source: SourcePackage = await self.keeper.offload(restore, target.file, target.form, content)
        await self.keeper.prepare(source)
        try:
            version = await self.odb.activate_version(target.file, target.number, actor)
            return await self._everywhere(version)
        finally:
            self.keeper.release(source)

    async def _everywhere(self, version: FileVersion) -> DeployReport:
        """Wait for every living node's verdict."""
        try:
            await self.bring(version.revision)
            missing = await self.config.everywhere(version.revision, VERDICT_WAIT)
            verdicts = await self.odb.version_verdicts(version.id)
            up = {node.name for node in await self.odb.nodes() if node.up_status == 'running'}
        except CancelledError:
            raise
        except (ServiceUnavailable, Timeout) as e:
            raise ServiceUnavailable(
                f'{version.file} is stored as version {version.number}, nodes follow when the ODB answers: {e.msg}'
            ) from e
        refused = {node: why for node, why in sorted(verdicts.items()) if why and node in up}
        return DeployReport(version=version, refused=refused, missing=tuple(missing))


def describe_version(versions: list[FileVersion], name: str, number: int | None) -> FileVersion:
    """The kept version `number` (None: the one before the active) of the file called `name`, or that has the service
    of that name. Raises NotFound saying what there is."""
    file = _file_of(versions, name)
    kept = {version.number: version for version in versions if version.file == file}
    active = next((version.number for version in kept.values() if version.active), 0)
    wanted = max((n for n in kept if n < active), default=None) if number is None else number
    if wanted is None:
        raise NotFound(f'{file}: there is no version before {active} to go back to')
    if wanted not in kept:
        there = ', '.join(str(n) for n in sorted(kept))
        raise NotFound(f'{file}: version {wanted} is not kept, these are: {there}')
    return kept[wanted]


def _file_of(versions: list[FileVersion], name: str) -> str:
    if any(version.file == name for version in versions):
        return name
    by_service = [version for version in versions if name in version.services]
    if not by_service:
        known = {version.file for version in versions}.union(*(version.services for version in versions))
        raise NotFound(f'No deployed file or service is called {name!r}{did_you_mean(name, sorted(known))}')
    return max(by_service, key=lambda version: (version.active, version.revision)).file
