"""The rows of internal services that a server adds when it starts."""

from __future__ import annotations

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from zatotx.node.node import missing_service_operations
from zatotx.schema.scheduler_job import DEFAULT_JOBS
from zatotx.schema.service_config import ServiceConfig
from zatotx.schema.snapshot import Snapshot, StoredObject


@frozen
class _Entry:
    name: str
    is_internal: bool = True
    cls: type = object


class MissingServiceTests(SynchronousTestCase):
    def test_jobs_come_with_their_services(self) -> None:
        """A default job is added together with the row of its service, so that a deleted one does not return."""
        known, new = list(DEFAULT_JOBS)[:2]
        snapshot = Snapshot(1, [StoredObject(1, 'service', ServiceConfig(name=known, is_internal=True), 1)])
        entries = [_Entry(known), _Entry(new), _Entry('zato.ping'), _Entry('crm', is_internal=False)]
        operations = [(one.type, one.name) for one in missing_service_operations(entries, snapshot)]
        self.assertEqual(operations, [('service', new), ('service', 'zato.ping'), ('scheduler_job', new)])
