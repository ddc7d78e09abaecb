"""Deployment to real nodes with a real ODB."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.connectors.security_type_registry import all_object_types
from zatotx.interfaces.config import FileVersion, OutdatedSnapshot
from zatotx.model.errors import BadRequest, Conflict, NotFound, ServiceUnavailable
from zatotx.node import live_config
from zatotx.schema.snapshot import Actor, Operation
from zatotx.service.deployment.deployer import find_rollback_version
from zatotx.service.deployment.source_package import create_zip
from zatotx.testing.memory_node import MemoryNode, MemoryPubSub, create_test_odb

TYPES = all_object_types([])
ME = Actor('tester', 'test')


def service(answer: str, name: str = 'crm.get') -> bytes:
    """Return a module with one service that responds with that text."""
    return f"""
from zatotx.service.service import Service

class Get(Service):
    name = {name!r}
    async def handle(self):
        self.response.payload = {answer!r}
""".encode()


class NodesTestCase(TestCase):
    """A test case with two nodes of one cluster."""

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()
        self.url = create_test_odb(self.place, TYPES)
        self.bus = MemoryPubSub()
        self.one, self.two = self.node('one'), self.node('two')
        return gatherResults([ensureDeferred(node.start()) for node in (self.one, self.two)])

    def node(self, name: str) -> MemoryNode:
        made = MemoryNode(self.reactor, name, self.place, self.url, types=TYPES, bus=self.bus)
        self.addCleanup(lambda: ensureDeferred(made.stop()))
        return made

    async def answers(self, name: str = 'crm.get') -> list[str]:
        """Return the current responses of both nodes."""
        return [(await node.reply(name)).body.decode() for node in (self.one, self.two)]

    def picky(self, answer: str) -> bytes:
        """Return a module as `service` does, whose import fails on node two while the file `missing` exists."""
        flag = self.place / 'missing'
        flag.write_text('')
        head = f"""import os
if '/two/' in __file__ and os.path.exists({str(flag)!r}): raise ImportError('not on two')"""
        return head.encode() + service(answer)


class DeployTests(NodesTestCase):
    async def test_every_node_runs_it_when_it_returns(self) -> None:
        """When a deployment returns, the next request on each node runs the new code."""
        for answer in ('one', 'two', 'three'):
            report = await self.one.deployer.deploy('crm.py', service(answer), ME)
            self.assertEqual((report.refused, report.missing), ({}, ()))
            self.assertEqual(await self.answers(), [answer] * 2)
        self.assertEqual((report.version.file, report.version.number, report.version.by), ('crm.py', 3, 'tester'))
        self.assertEqual(report.version.services, ('crm.get',))

    async def test_from_any_node(self) -> None:
        """Both nodes accept deployments, also simultaneously; all of them reach both nodes."""
        await gatherResults(
            [
                node.deployer.deploy(f'{name}.py', service(name, f'{name}.get'), ME)
                for node, name in ((self.one, 'a'), (self.two, 'b'), (self.one, 'c'), (self.two, 'd'))
            ]
        )
        for name in 'abcd':
            self.assertEqual(await self.answers(f'{name}.get'), [name] * 2)

    async def test_without_the_bus(self) -> None:
        """Without Redis, the other nodes find the version by its revision, and the deployment waits for them."""
        self.bus.is_disconnected = True
        await self.one.deployer.deploy('crm.py', service('quiet'), ME)
        self.assertEqual(await self.answers(), ['quiet'] * 2)

    async def test_bad_code_is_not_stored(self) -> None:
        """Invalid code is rejected with file and line; nothing is stored, and the old version keeps running."""
        await self.one.deployer.deploy('crm.py', service('good'), ME)
        refused = self.one.deployer.deploy('crm.py', b'import json\nx = y', ME)
        told = (await self.assertFailure(refused, BadRequest)).msg
        self.assertEqual(told, "crm.py:2: NameError: name 'y' is not defined")
        self.assertEqual([v.number for v in await self.one.odb.versions()], [1])
        self.assertEqual(await self.answers(), ['good'] * 2)

    async def test_all_mistakes_of_a_file_at_once(self) -> None:
        """All mistakes in the services of a file are reported at once, each with its line."""
        text = b"""from zatotx.service.service import Service

class A(Service):
    name = 'same'
    async def handle(self): pass

class B(Service):
    name = 'same'
    async def handle(self): pass

class C(Service):
    name = 'zato.mine'
    async def handle(self, extra): pass

class D(Service):
    pass

class E(Service):
    input = 5
    async def handle(self): pass
"""
        told = (await self.assertFailure(self.one.deployer.deploy('crm.py', text, ME), BadRequest)).msg
        for expected in (
            "crm.py:7: service 'same': the name of B is taken by A at crm.py:3",
            "crm.py:11: service 'zato.mine': the name of C begins with 'zato.'",
            "crm.py:11: service 'zato.mine': C.handle must take self and nothing else",
            "crm.py:15: service 'crm.d': D has no handle(self)",
            "crm.py:18: service 'crm.e': E.input:",
        ):
            self.assertIn(expected, told)

    async def test_no_service(self) -> None:
        """A file without a service is rejected with a message that says what a service is."""
        told = (await self.assertFailure(self.one.deployer.deploy('crm.py', b'x = 1', ME), BadRequest)).msg
        self.assertEqual(
            told,
            'crm.py: there is no service in it, which is a class that inherits from Service and has handle(self)',
        )

    async def test_service_of_another_file(self) -> None:
        """A service that belongs to another deployed file is a conflict naming that file; nothing changes."""
        await self.one.deployer.deploy('crm.py', service('crm'), ME)
        conflict = await self.assertFailure(self.two.deployer.deploy('hr.py', service('hr'), ME), Conflict)
        self.assertEqual(conflict.msg, "hr.py:4: service 'crm.get' belongs to the deployed file 'crm.py'")
        self.assertEqual(await self.answers(), ['crm'] * 2)

    async def test_service_moves_between_files(self) -> None:
        """A service removed from one file may be deployed in another."""
        both = service('here', 'moving') + service('stays', 'staying').replace(b'class Get', b'class Stay')
        await self.one.deployer.deploy('a.py', both, ME)
        await self.one.deployer.deploy('a.py', service('stays', 'staying'), ME)
        self.assertEqual((await self.one.reply('moving')).status, 404)
        await self.two.deployer.deploy('b.py', service('there', 'moving'), ME)
        self.assertEqual(await self.answers('moving'), ['there'] * 2)

    async def test_refused_by_one_node(self) -> None:
        """A node that cannot run a version keeps the old one, and the report contains the reason."""
        await self.one.deployer.deploy('crm.py', service('old'), ME)
        report = await self.one.deployer.deploy('crm.py', self.picky('new'), ME)
        self.assertEqual(report.refused, {'two': 'crm.py:2: ImportError: not on two'})
        self.assertEqual(await self.answers(), ['new', 'old'])

    async def test_same_content_again(self) -> None:
        """Deploying the same code again creates no version, but retries a version that failed on this node."""
        await self.one.deployer.deploy('crm.py', service('old'), ME)
        await self.one.deployer.deploy('crm.py', self.picky('new'), ME)
        content = self.picky('new')
        (self.place / 'missing').unlink()  # the missing library was installed
        report = await self.two.deployer.deploy('crm.py', content, ME)
        self.assertEqual((report.version.number, report.refused), (2, {}))
        self.assertEqual(await self.answers(), ['new'] * 2)

    async def test_service_of_a_file_that_stayed_behind(self) -> None:
        """While a node keeps the old version of one file, it rejects another file with a service of that version; it
        runs both once the first one works."""
        await self.one.deployer.deploy('a.py', service('a', 'moving'), ME)
        await self.one.deployer.deploy('a.py', self.picky('a').replace(b'crm.get', b'staying'), ME)
        report = await self.one.deployer.deploy('b.py', service('b', 'moving'), ME)
        self.assertEqual(report.refused, {'two': "b.py: service 'moving' belongs to a.py here"})
        self.assertEqual(await self.answers('moving'), ['b', 'a'])
        (self.place / 'missing').unlink()
        await self.two.code.retry_failed_versions()
        self.assertEqual(await self.answers('moving'), ['b', 'b'])
        self.assertEqual([v for v in self.two.code.verdicts.values() if v], [])

    async def test_nothing_of_a_file_runs(self) -> None:
        """A node on which no version of a file works runs the other files, and its verdict has the reason."""
        await self.one.deployer.deploy('a.py', service('a', 'a.get'), ME)
        report = await self.one.deployer.deploy('crm.py', self.picky('new'), ME)
        self.assertEqual(report.refused, {'two': 'crm.py:2: ImportError: not on two'})
        self.assertEqual([(await self.two.reply(n)).status for n in ('crm.get', 'a.get')], [404, 200])
        self.assertIn('a.get', self.two.services.current)
        self.assertNotIn('crm.get', self.two.services.current)

    async def test_a_node_that_is_down_is_not_waited_for(self) -> None:
        """A deployment does not wait for a stopped node, which runs the newest version when it starts."""
        three = MemoryNode(self.reactor, 'three', self.place, self.url, types=TYPES, bus=MemoryPubSub())
        await three.start()
        await three.stop()
        report = await self.one.deployer.deploy('crm.py', service('new'), ME)
        self.assertEqual(report.missing, ())
        again = self.node('three')
        await again.start()
        self.assertEqual((await again.reply('crm.get')).body, b'new')

    async def test_odb_away_after_storing(self) -> None:
        """If the ODB fails between storing and verdicts, the error says that the version is stored."""

        async def gone(revision: int) -> None:
            raise ServiceUnavailable('The ODB is unavailable')

        self.one.deployer.apply_revision = gone
        refused = self.one.deployer.deploy('crm.py', service('new'), ME)
        told = (await self.assertFailure(refused, ServiceUnavailable)).msg
        reason = 'nodes follow when the ODB answers: The ODB is unavailable'
        self.assertEqual(told, f'crm.py is stored as version 1, {reason}')

    async def test_slow_import_elsewhere(self) -> None:
        """A node stays responsive during a slow import, and the deployment waits for it."""
        text = b"import time\nif '/three/' in __file__: time.sleep(3.5)\n" + service('slow')
        self.patch(live_config, 'NODE_TIMEOUT', 2.2)
        self.patch(live_config, 'HEARTBEAT_INTERVAL', 0.2)
        for node in (self.one, self.two):
            await node.config.stop()
            node.config.start()
        three = self.node('three')
        await three.start()
        report = await self.one.deployer.deploy('crm.py', text, ME)
        self.assertEqual((report.refused, report.missing), ({}, ()))
        self.assertEqual((await three.reply('crm.get')).body, b'slow')

    async def test_code_goes_in_with_the_configuration(self) -> None:
        """The versions for a snapshot are imported before the commit and run from the commit on, unless they are
        newer than the snapshot. A failed preparation does not block the next one."""
        for node in (self.one, self.two):
            await node.config.stop()
        keeper, before = self.two.code, self.two.config.snapshot
        await self.two.odb.add_version('crm.py', 'module', service('new'), ['crm.get'], ME)
        after = before.apply_changes(await self.two.odb.changes(before.revision))
        try:
            await keeper.prepare_snapshot(before)
            self.fail('the code is newer than that')
        except OutdatedSnapshot:
            self.assertEqual(len(self.two.services.files), 0)
        (await keeper.prepare_snapshot(after)).discard()
        prepared = await keeper.prepare_snapshot(after)
        self.assertEqual((await self.two.reply('crm.get')).status, 404)
        finishing = prepared.commit()
        self.assertEqual((await self.two.reply('crm.get')).body, b'new')
        assert finishing is not None
        await finishing

    async def test_switched_off(self) -> None:
        """A deactivated service responds with 404 on every node, and works again when it is activated."""
        await self.one.deployer.deploy('crm.py', service('on'), ME)
        row = self.one.config.snapshot.find('service', 'crm.get')
        for active, status in ((False, 404), (True, 200)):
            change = Operation(action='edit', type='service', name='crm.get', id=row.id, fields={'is_active': active})
            revision = await self.one.config.change([change], ME)
            self.assertEqual(await self.one.config.wait_until_applied(revision), [])
            self.assertEqual([(await node.reply('crm.get')).status for node in (self.one, self.two)], [status] * 2)

    async def test_hooks(self) -> None:
        """`before_add_to_store` can leave a service out; `after_add_to_store` is called once it can be invoked.
        Errors in the latter, even SystemExit, are logged and the service runs."""
        text = b"""from zatotx.service.service import Service

class Out(Service):
    @staticmethod
    def before_add_to_store(logger):
        return False
    async def handle(self): pass

class Ending(Service):
    name = 'ending'
    @staticmethod
    def after_add_to_store(logger):
        raise SystemExit('enough')
    async def handle(self): self.response.payload = 'serves too'

class In(Service):
    name = 'in'
    added = 'not yet'
    @classmethod
    def after_add_to_store(cls, logger):
        cls.added = 'added as ' + logger.name
    async def handle(self): self.response.payload = self.added

class Broken(Service):
    name = 'broken'
    @staticmethod
    def after_add_to_store(logger):
        1/0
    async def handle(self): self.response.payload = 'serves'
"""
        report = await self.one.deployer.deploy('hooked.py', text, ME)
        self.assertEqual(report.version.services, ('broken', 'ending', 'in'))
        self.assertEqual([await self.answers(n) for n in ('in', 'broken', 'ending')],
                         [['added as in'] * 2, ['serves'] * 2, ['serves too'] * 2])

    async def test_a_hook_that_ends_the_process(self) -> None:
        """`sys.exit()` in `before_add_to_store` is reported as a mistake of the file with its line."""
        text = b"""from zatotx.service.service import Service

class Out(Service):
    @staticmethod
    def before_add_to_store(logger):
        raise SystemExit('no licence')
    async def handle(self): pass
"""
        refused = self.one.deployer.deploy('crm.py', text, ME)
        self.assertEqual((await self.assertFailure(refused, BadRequest)).msg, 'crm.py:6: SystemExit: no licence')

    async def test_marker_and_helpers(self) -> None:
        """Classes marked `zato_dont_import`, base classes without handle and imported services are no services of a
        file; subclasses, and base classes with handle, are."""
        text = b"""from zatotx.api.health import Echo
from zatotx.service.service import Service

class Base(Service):
    zato_dont_import = True
    name = 'base'
    async def handle(self): self.response.payload = self.what

class Helper(Service):
    what = 'helped'

class Real(Base, Helper):
    name = 'real'

class Whole(Service):
    name = 'whole'
    async def handle(self): self.response.payload = type(self).__name__

class Derived(Whole):
    name = 'derived'
"""
        report = await self.one.deployer.deploy('helped.py', text, ME)
        self.assertEqual(report.version.services, ('derived', 'real', 'whole'))
        self.assertEqual([await self.answers(name) for name in ('real', 'whole', 'derived')],
                         [['helped'] * 2, ['Whole'] * 2, ['Derived'] * 2])

    async def test_names(self) -> None:
        """A service without a name is named by its file and class, in packages by its module."""
        files = {'my_pkg/__init__.py': b'', 'my_pkg/sub_mod.py': service('x').replace(b"name = 'crm.get'", b'')}
        report = await self.one.deployer.deploy('my_pkg.zip', create_zip(files), ME)
        self.assertEqual(report.version.services, ('my-pkg.sub-mod.get',))
        report = await self.one.deployer.deploy('my_api.py', service('x').replace(b"name = 'crm.get'", b''), ME)
        self.assertEqual(report.version.services, ('my-api.get',))


class RollbackTests(NodesTestCase):
    async def deploy(self, *answers: str) -> None:
        for answer in answers:
            await self.one.deployer.deploy('crm.py', service(answer), ME)

    async def test_back_and_forth(self) -> None:
        """A rollback activates the previous version or any stored number, by file or service name, on all nodes."""
        await self.deploy('1', '2', '3')
        steps = (('crm.py', None, '2'), ('crm.get', None, '1'), ('crm.py', 3, '3'), ('crm.get', 1, '1'))
        for name, number, answer in steps:
            report = await self.two.deployer.rollback(name, number, ME)
            self.assertEqual((report.version.number, report.refused, report.missing), (int(answer), {}, ()))
            self.assertEqual(await self.answers(), [answer] * 2)

    async def test_twenty_are_kept(self) -> None:
        """The newest 20 versions of a file can be rolled back to; for others, the error lists the stored ones."""
        await self.deploy(*map(str, range(1, 24)))
        self.assertEqual([v.number for v in await self.one.odb.versions('crm.py')], list(range(4, 24)))
        await self.one.deployer.rollback('crm.py', 4, ME)
        self.assertEqual(await self.answers(), ['4'] * 2)
        refused = self.one.deployer.rollback('crm.py', 3, ME)
        self.assertIn('these are: 4, 5,', (await self.assertFailure(refused, NotFound)).msg)

    async def test_old_versions_leave_memory(self) -> None:
        """After many deployments only active versions are still imported."""
        await self.deploy(*map(str, range(10)))
        gc.collect()
        mine = [
            name
            for name, module in sys.modules.items()
            if name.startswith('zatotx_deployed.') and name.endswith('.crm')
            and str(self.place) in (getattr(module, '__file__', None) or '')
        ]
        self.assertEqual(len(mine), 2)  # one a node

    async def test_to_a_version_that_does_not_run_any_more(self) -> None:
        """A rollback to a version that no longer works is rejected, and the active version stays."""
        flag = self.place / 'flag'
        flag.write_text('')
        fragile = f'open({str(flag)!r})\n'.encode() + service('fragile')
        await self.one.deployer.deploy('crm.py', fragile, ME)
        await self.deploy('solid')
        flag.unlink()
        gc.collect()
        refused = self.one.deployer.rollback('crm.py', 1, ME)
        self.assertIn('crm.py:1: FileNotFoundError', (await self.assertFailure(refused, BadRequest)).msg)
        self.assertEqual(await self.answers(), ['solid'] * 2)


class WhichTests(SynchronousTestCase):
    def version(self, number: int, active: bool = False, file: str = 'crm.py', service: str = 'get') -> FileVersion:
        return FileVersion(
            id=number, file=file, number=number, form='module', sha256='', created=0.0, by='', active=active,
            services=(service,), revision=number,
        )  # fmt: skip

    def test_nothing_to_go_back_to(self) -> None:
        """Each case without a version to roll back to has its own message."""
        versions = [self.version(1, active=True)]
        for name, number, told in (
            ('crm.py', None, 'crm.py: there is no version before 1 to go back to'),
            ('crm.py', 7, 'crm.py: version 7 is not kept, these are: 1'),
            ('nix', None, "No deployed file or service is called 'nix'"),
            ('crn.py', None, "No deployed file or service is called 'crn.py', did you mean 'crm.py'?"),
        ):
            self.assertEqual(self.assertRaises(NotFound, find_rollback_version, versions, name, number).msg, told)

    def test_by_service(self) -> None:
        """A service name selects the file that contains it, otherwise the one that contained it last."""
        moved = [self.version(1, file='a.py'), self.version(2, active=True, file='a.py', service='other'),
                 self.version(3, active=True, file='b.py')]  # fmt: skip
        self.assertEqual(find_rollback_version(moved, 'get', 3).file, 'b.py')
        self.assertEqual(find_rollback_version(moved[:2], 'get', None), moved[0])


class OneVersionARequestTests(NodesTestCase):
    """A request uses one version of a file from start to end."""

    async def test_request_under_way(self) -> None:
        """A request that started with the old version ends with it, through self.invoke and late imports too, while
        others use the new version."""

        def package(n: int) -> bytes:
            init = f"""
from twisted.internet.defer import Deferred
from zatotx.service.service import Service

waiting = []

class Outer(Service):
    name = 'outer'
    async def handle(self):
        wait = Deferred()
        waiting.append(wait)
        Outer.waiting = waiting
        if self.request.payload.get('wait'):
            await wait
        import crm.late
        inner = await self.invoke('inner')
        by_class = await self.invoke(Inner)
        self.response.payload = {{'outer': {n}, 'inner': inner, 'by_class': by_class, 'late': crm.late.VALUE}}

class Inner(Service):
    name = 'inner'
    def handle(self):
        from crm import later
        self.response.payload = later.VALUE
"""
            value = f'VALUE = {n}'.encode()
            return create_zip({'crm/__init__.py': init.encode(), 'crm/late.py': value, 'crm/later.py': value})

        def of(n: int) -> dict[str, int]:
            return dict.fromkeys(('outer', 'inner', 'by_class', 'late'), n)

        await self.one.deployer.deploy('crm.zip', package(1), ME)
        old_cls: Any = self.one.services.current.get('outer')
        under_way = ensureDeferred(self.one.reply('outer', {'wait': True}))
        await self.one.deployer.deploy('crm.zip', package(2), ME)
        self.assertEqual(await self.one.call('outer'), of(2))
        self.assertFalse(under_way.called)
        old_cls.cls.waiting[0].callback(None)
        del old_cls
        self.assertEqual(msgspec.json.decode((await under_way).body), of(1))
        self.assertEqual(await self.two.call('outer'), of(2))

    async def test_no_request_fails_or_is_mixed(self) -> None:
        """While versions change, every request succeeds with exactly one version, and responses of a node never go
        back to an older one."""

        def module(n: int) -> bytes:
            return f"""
from zatotx.service.service import Service
from twisted.internet.task import deferLater
from twisted.internet import reactor

class A(Service):
    name = 'a'
    async def handle(self):
        await deferLater(reactor, 0.002, lambda: None)
        self.response.payload = [{n}, await self.invoke('b'), await self.invoke('c')]

class B(Service):
    name = 'b'
    def handle(self):
        self.response.payload = {n}

class C(Service):
    name = 'c'
    async def handle(self):
        self.response.payload = {n}
""".encode()

        await self.one.deployer.deploy('abc.py', module(0), ME)
        seen: list[list[int]] = []
        newest: Counter[int] = Counter()  # how many answers each client had of the last version
        running = True

        async def client(number: int, node: MemoryNode) -> None:
            last = 0
            while running:
                answer = await node.call('a')
                seen.append(answer)
                self.assertGreaterEqual(answer[0], last)
                last = answer[0]
                newest[number] += last == 10

        clients = [ensureDeferred(client(number, node)) for number, node in enumerate((self.one, self.two) * 3)]
        for n in range(1, 11):
            await self.one.deployer.deploy('abc.py', module(n), ME)
        while not all(newest[number] for number in range(6)):
            await deferLater(self.reactor, 0.01, lambda: None)
        running = False
        await gatherResults(clients)
        self.assertEqual([answer for answer in seen if len(set(answer)) != 1], [])


class RestartTests(NodesTestCase):
    async def test_newest_after_a_restart(self) -> None:
        """A starting node runs the active version of every file, from the ODB alone."""
        await self.one.deployer.deploy('crm.py', service('old'), ME)
        await self.one.deployer.deploy('crm.py', service('new'), ME)
        await self.one.deployer.deploy('hr.py', service('hr', 'hr.get'), ME)
        three = self.node('three')
        await three.start()
        self.assertEqual([(await three.reply(n)).body for n in ('crm.get', 'hr.get')], [b'new', b'hr'])

    async def test_falls_back_at_start(self) -> None:
        """If the active version fails on a starting node, it runs the newest older one that works, and its verdict
        says so."""
        flag = self.place / 'flag'
        flag.write_text('')
        await self.one.deployer.deploy('crm.py', service('oldest'), ME)
        await self.one.deployer.deploy('crm.py', service('older'), ME)
        fragile = f'open({str(flag)!r})\n'.encode() + service('fragile')
        report = await self.one.deployer.deploy('crm.py', fragile, ME)
        flag.unlink()
        three = self.node('three')
        await three.start()
        self.assertEqual((await three.reply('crm.get')).body, b'older')
        verdicts = await self.one.odb.version_results(report.version.id)
        self.assertEqual((verdicts['one'], verdicts['two']), ('', ''))
        self.assertIn('crm.py:1: FileNotFoundError', verdicts['three'])

    async def test_files_of_forgotten_versions_are_removed(self) -> None:
        """A starting node removes the files of versions that are no longer stored."""
        stray = self.place / 'three' / 'deployed' / 'abc'
        stray.mkdir(parents=True)
        await self.one.deployer.deploy('crm.py', service('x'), ME)
        await self.node('three').start()
        self.assertEqual([p.exists() for p in (stray, stray.parent)], [False, True])

    async def test_a_hundred_files(self) -> None:
        """A node loads 100 deployed services well within the start timeout."""
        for n in range(100):
            content = service(str(n), f'many.{n}')
            await self.one.odb.add_version(f'many{n}.py', 'module', content, [f'many.{n}'], ME)
        three = self.node('three')
        began = self.reactor.seconds()
        await three.start()
        took = self.reactor.seconds() - began
        self.assertEqual((await three.reply('many.99')).body, b'99')
        self.assertLess(took, 30.0)
