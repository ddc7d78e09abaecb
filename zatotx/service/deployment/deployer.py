"""Deploys code to every node, and keeps the running services of each node in accordance with the active versions in the
ODB.

The ODB is authoritative: a version is active from the one transaction that stored it, so a node killed at any moment
finds either all of a deployment after its restart, or nothing of it.

How a node uses it (zatotx.node):

- `VersionManager` is created once per node. The node awaits `keeper.load()` at startup; `keeper.prepare_snapshot`
prepares
  each new snapshot; every heartbeat publishes `keeper.verdicts`.
- `Deployer` is `INode.deployer`. Its `apply_revision(revision)` is provided by the node: it brings this node up to
that revision
  and notifies the others, without waiting for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
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
    PreparedConfigChange,
)
from zatotx.interfaces.node import DeploymentReport, IDeployer
from zatotx.model.errors import BadRequest, Conflict, NotFound, ServiceUnavailable, Timeout
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.schema.service_config import DEFAULT_SLOW_THRESHOLD
from zatotx.schema.snapshot import Actor, Snapshot
from zatotx.service.deployment.module_importer import import_source
from zatotx.service.deployment.service_checks import CheckedVersion, call_after_add_hooks, check_services
from zatotx.service.deployment.source_package import SourcePackage, parse_stored, parse_upload
from zatotx.service.deployment.user_code_threads import DEADLINE, run_in_import_thread
from zatotx.service.deployment.version_contents import VersionContents
from zatotx.service.service_store import ServiceStore, resolve_conflicts
from zatotx.system.thread_pool import IThreadReactor

VERDICT_TIMEOUT = DEADLINE + 10  # seconds that the other nodes have to import a version


@define(kw_only=True, eq=False)
class VersionManager:
    """Loads the active version of every deployed file on this node. If a new version cannot be loaded on this node, the
    previous version remains active."""

    odb: IConfigStore
    store: ServiceStore
    directory: Path  # the node's work/deployed directory
    reactor: IThreadReactor
    offload: Callable[..., Deferred[Any]]
    verdicts: dict[int, str] = field(
        factory=dict, init=False
    )  # id of an active version -> '' if it runs, otherwise the reason
    _running: dict[str, CheckedVersion] = field(factory=dict, init=False)  # by file
    _ids: dict[str, int] = field(factory=dict, init=False)  # file -> id of the version that was tried last
    _prepared: dict[tuple[str, str], CheckedVersion] = field(factory=dict, init=False)  # by file and hash
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    _log = Logger()

    async def load(self) -> None:
        """Run all active versions when the node starts.

        A file whose active version fails here runs its newest older version that works; the verdict says so.
        """
        versions = await self.odb.versions()
        await self.offload(_remove_unused, self.directory, {version.sha256 for version in versions})
        await self._level()

    async def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Apply a snapshot when the node starts, with the code that is active now."""
        await self._commit(snapshot, await self._follow())

    async def prepare_snapshot(self, snapshot: Snapshot) -> PreparedConfigChange:
        """Import what a new snapshot needs.

        The commit activates and deactivates services, sets their limits, and swaps in the active versions. Raises
        OutdatedSnapshot if one of these was activated after the snapshot.
        """
        await self._lock.acquire()  # held until the commit, so that these versions cannot replace newer ones
        try:
            swap = await self._follow(snapshot.revision)
        except BaseException:
            self._lock.release()
            raise
        return PreparedConfigChange(partial(self._commit_and_release, snapshot, swap), self._lock.release)

    def _commit_and_release(
        self, snapshot: Snapshot, swap: Callable[[], Mapping[str, CheckedVersion]]
    ) -> Deferred[None]:
        try:
            return self._commit(snapshot, swap)
        finally:
            self._lock.release()

    def _commit(self, snapshot: Snapshot, swap: Callable[[], Mapping[str, CheckedVersion]]) -> Deferred[None]:
        rows = snapshot.objects_of_types('service')
        self.store.set_inactive(frozenset(row.name for row in rows if not row.value.is_active))
        self.store.set_limits({row.name: row.value.max_in_flight for row in rows if row.value.max_in_flight})
        self.store.set_required_roles({row.name: tuple(row.value.roles) for row in rows if row.value.roles})
        self.store.set_sampling({
            row.name: (row.value.slow_threshold, row.value.sample_req_resp_freq)
            for row in rows
            if row.value.slow_threshold != DEFAULT_SLOW_THRESHOLD or row.value.sample_req_resp_freq
        })
        return Deferred.fromCoroutine(self._announce(swap()))

    async def retry_failed_versions(self) -> None:
        """Try the versions that failed here again, as the reason may be gone (a library was installed since)."""
        self._ids = {file: version_id for file, version_id in self._ids.items() if not self.verdicts.get(version_id)}
        await self._level()

    async def _level(self) -> None:
        """Import and swap in the active versions."""
        await self._lock.acquire()
        try:
            fresh = (await self._follow())()
        finally:
            self._lock.release()
        await self._announce(fresh)

    async def prepare(self, source: SourcePackage) -> CheckedVersion:
        """Import and check a source without activating it. Raises BadRequest saying what is wrong and where.

        The result is kept until `release`, so that the source is not imported twice.
        """
        checked = await self._check(source)
        self._prepared[source.file, source.sha256] = checked
        return checked

    def release(self, source: SourcePackage) -> None:
        """Drop the prepared version of a source, which has been used or will not be."""
        self._prepared.pop((source.file, source.sha256), None)

    async def _check(self, source: SourcePackage) -> CheckedVersion:
        def import_and_check() -> CheckedVersion:
            return check_services(import_source(source, self.directory))

        checked: CheckedVersion = await run_in_import_thread(
            self.reactor, import_and_check, source, description='the import'
        )
        return checked

    async def _follow(self, newest: float = inf) -> Callable[[], Mapping[str, CheckedVersion]]:
        """Import the active versions that do not run yet; return the function that swaps them in.

        That function returns the new versions. Raises OutdatedSnapshot if a version was activated by a revision after
        `newest`.
        """
        versions = await self.odb.versions()
        active = {version.file: version for version in versions if version.active}
        if any(version.revision > newest for version in active.values()):
            raise OutdatedSnapshot
        verdicts: dict[int, str] = {}
        fresh: dict[str, CheckedVersion] = {}
        contents = VersionContents(self.odb, self._ids_to_read(active.values()))
        for version in active.values():
            if self._ids.get(version.file) == version.id:
                verdicts[version.id] = self.verdicts.get(version.id, '')
            else:
                verdicts[version.id] = await self._choose_version(version, versions, fresh, contents)
        return partial(self._swap, active, fresh, verdicts)

    def _ids_to_read(self, active: Iterable[FileVersion]) -> Iterator[int]:
        """Yield the IDs of the active versions that are neither running nor prepared."""
        for version in active:
            running = self._running.get(version.file)
            is_running = self._ids.get(version.file) == version.id or (
                running is not None and running.source.sha256 == version.sha256
            )
            if not is_running and (version.file, version.sha256) not in self._prepared:
                yield version.id

    async def _choose_version(
        self,
        version: FileVersion,
        versions: list[FileVersion],
        fresh: dict[str, CheckedVersion],
        contents: VersionContents,
    ) -> str:
        """Add the version of a file that is to run to `fresh`; return the verdict on the active version."""
        running = self._running.get(version.file)
        if running is not None and running.source.sha256 == version.sha256:
            return ''
        try:
            fresh[version.file] = await self._fetch(version, contents)
            return ''
        except BadRequest as error:
            verdict = error.msg
        if running is not None:
            self._log.error('{file} version {number} is refused here, the one before goes on: {why}',
                            file=version.file, number=version.number, why=verdict)
            return verdict
        older = [other for other in versions if other.file == version.file and other.number < version.number]
        for candidate in sorted(older, key=lambda other: -other.number):
            with suppress(BadRequest):
                fresh[version.file] = await self._fetch(candidate, contents)
                self._log.error('{file} version {number} is refused here, version {older} runs instead: {why}',
                                file=version.file, number=version.number, older=candidate.number, why=verdict)
                return verdict
        self._log.error('{file} version {number} is refused here and no older one can run: {why}',
                        file=version.file, number=version.number, why=verdict)
        return verdict

    async def _fetch(self, version: FileVersion, contents: VersionContents) -> CheckedVersion:
        """Return the checked version, imported if it was not prepared."""
        checked = self._prepared.get((version.file, version.sha256))
        if checked is None:
            content = await contents.pop(version.id)
            source: SourcePackage = await self.offload(parse_stored, version.file, version.form, content)
            checked = await self._check(source)
        checked.number = version.number
        return checked

    def _swap(
        self, active: Mapping[str, FileVersion], fresh: dict[str, CheckedVersion], verdicts: dict[int, str]
    ) -> Mapping[str, CheckedVersion]:
        """Swap in all versions at once; return those of `fresh` that run now."""
        running = {file: checked for file, checked in self._running.items() if file in active}
        files, clashes = resolve_conflicts(running, fresh)
        for file, reason in clashes.items():
            verdicts[active[file].id] = reason
            fresh.pop(file, None)
            self._log.error('{file} version {number} is refused here: {why}',
                            file=file, number=active[file].number, why=reason)
        self._running = files
        self._ids = {file: version.id for file, version in active.items()}
        self.verdicts = verdicts
        self.store.replace_files(files)
        return fresh

    async def _announce(self, fresh: Mapping[str, CheckedVersion]) -> None:
        """Call `after_add_to_store` of the added services, in a thread as it is users' code."""
        for checked in fresh.values():
            if checked.has_after_add_hook:
                try:
                    announce = partial(call_after_add_hooks, checked)
                    await run_in_import_thread(self.reactor, announce, checked.source, description='after_add_to_store')
                except BadRequest as error:
                    self._log.error('{why}', why=error.msg)


def _remove_unused(directory: Path, kept: set[str]) -> None:
    """Remove the files of versions that are no longer stored. Blocking."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.name not in kept:
                rmtree(entry, ignore_errors=True)


@implementer(IDeployer)
@define(kw_only=True, eq=False)
class Deployer:
    """Implements IDeployer. It deploys files to the whole cluster; each node processes one deployment at a time, and
    queues further deployments."""

    odb: IConfigStore
    config: IConfig
    keeper: VersionManager
    apply_revision: Callable[[int], Awaitable[None]]
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    def deploy(self, file: str, content: bytes, actor: Actor) -> Deferred[DeploymentReport]:
        report: Deferred[DeploymentReport] = self._lock.run(
            lambda: Deferred.fromCoroutine(self._deploy(file, content, actor))
        )
        return report

    def rollback(self, name: str, number: int | None, actor: Actor) -> Deferred[DeploymentReport]:
        report: Deferred[DeploymentReport] = self._lock.run(
            lambda: Deferred.fromCoroutine(self._rollback(name, number, actor))
        )
        return report

    async def _deploy(self, file: str, content: bytes, actor: Actor) -> DeploymentReport:
        source: SourcePackage = await self.keeper.offload(parse_upload, file, content)
        checked = await self.keeper.prepare(source)
        try:
            names = sorted(checked.services)
            try:
                version = await self.odb.add_version(source.file, source.form, source.content, names, actor)
            except Conflict as error:
                locations = ', '.join(checked.service_location(name) for name in names if repr(name) in error.msg)
                raise Conflict(None, f'{locations or source.file}: {error.msg}') from error
            if self.keeper.verdicts.get(version.id):  # the same code was deployed again, and works here now
                await self.keeper.retry_failed_versions()
            return await self._wait_for_nodes(version)
        finally:
            self.keeper.release(source)

    async def _rollback(self, name: str, number: int | None, actor: Actor) -> DeploymentReport:
        target = find_rollback_version(await self.odb.versions(), name, number)
        content = await self.odb.version_content(target.id)
        source: SourcePackage = await self.keeper.offload(parse_stored, target.file, target.form, content)
        await self.keeper.prepare(source)
        try:
            version = await self.odb.activate_version(target.file, target.number, actor)
            return await self._wait_for_nodes(version)
        finally:
            self.keeper.release(source)

    async def _wait_for_nodes(self, version: FileVersion) -> DeploymentReport:
        """Wait for the verdicts of all running nodes."""
        try:
            await self.apply_revision(version.revision)
            missing = await self.config.wait_until_applied(version.revision, VERDICT_TIMEOUT)
            verdicts = await self.odb.version_results(version.id)
            running = {node.name for node in await self.odb.nodes() if node.up_status == 'running'}
        except CancelledError:
            raise
        except (ServiceUnavailable, Timeout) as error:
            raise ServiceUnavailable(
                f'{version.file} is stored as version {version.number}, nodes follow when the ODB answers: {error.msg}'
            ) from error
        refusals = {node: reason for node, reason in sorted(verdicts.items()) if reason and node in running}
        return DeploymentReport(version=version, refused=refusals, missing=tuple(missing))


def find_rollback_version(versions: list[FileVersion], name: str, number: int | None) -> FileVersion:
    """Return the stored version to which a file is rolled back. `number` is the number of the version, or None for the
    previous one.

    `name` is a file, or a service in it; `number` the version, None for the one before the active version. Raises
    NotFound listing what exists.
    """
    file = _file_of(versions, name)
    stored = {version.number: version for version in versions if version.file == file}
    active = next((version.number for version in stored.values() if version.active), 0)
    target = max((candidate for candidate in stored if candidate < active), default=None) if number is None else number
    if target is None:
        raise NotFound(f'{file}: there is no version before {active} to go back to')
    if target not in stored:
        available = ', '.join(str(candidate) for candidate in sorted(stored))
        raise NotFound(f'{file}: version {target} is not kept, these are: {available}')
    return stored[target]


def _file_of(versions: list[FileVersion], name: str) -> str:
    """Return the file of that name, or the one that contains the service of that name. Raises NotFound."""
    if any(version.file == name for version in versions):
        return name
    by_service = [version for version in versions if name in version.services]
    if not by_service:
        known_names = {version.file for version in versions}.union(*(version.services for version in versions))
        raise NotFound(
            f'No deployed file or service is called {name!r}{suggest_similar_name(name, sorted(known_names))}'
        )
    return max(by_service, key=lambda version: (version.active, version.revision)).file
