"""The jobs and services of the page on the scheduler are what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service
from zatotx.rules.enmasse.import_plan import plan_import
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import BUILTIN_TYPES, ObjectTypeRegistry
from zatotx.testing.service_kit import ServiceKit

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'scheduler.md'


def blocks(language: str) -> list[str]:
    """The blocks of the page in that language."""
    return re.findall(rf'^```{language}\n(.*?)^```$', PAGE.read_text('utf-8'), re.MULTILINE | re.DOTALL)


def services() -> dict[str, type[Service]]:
    """The services of the page, by name."""
    found: dict[str, type[Service]] = {}
    for block in blocks('python'):
        space: dict[str, Any] = {}
        exec(block, space)
        found.update((cls.get_name(), cls) for cls in space.values()
                     if isinstance(cls, type) and issubclass(cls, Service) and cls is not Service)  # fmt: skip
    return found


class SchedulerPageTests(SynchronousTestCase):
    """The examples of the page."""

    def test_jobs(self) -> None:
        """The jobs can be imported."""
        (document,) = (yaml.safe_load(block) for block in blocks('yaml'))
        types = ObjectTypeRegistry(BUILTIN_TYPES[1:])
        service = types['service'].struct(name='shop.report')
        plan = plan_import(document, types, Snapshot(1, [StoredObject(1, 'service', service, 1)]), replace=False,
                           verify=lambda hashed, clear: False, now=datetime.now(UTC))  # fmt: skip
        self.assertEqual(plan.errors, ())
        self.assertEqual([step.name for step in plan.operations], ['every-5s', 'weekdays-at-8', 'new-year'])

    def test_service(self) -> None:
        """The service logs its job."""
        with ServiceKit() as kit:
            kit.call(services()['shop.report'], 'daily totals', channel='scheduler', job_type='interval_based',
                     job_name='every-5s', data_format='')  # fmt: skip
            (line,) = kit.logged()
            self.assertRegex(line, r"^every-5s for 20\d\d-.*\+00:00: b?'?daily totals'?$")

    def test_onetime(self) -> None:
        """The last service creates a job."""
        with ServiceKit() as kit:
            kit.call(services()['shop.remind'])
            (job,) = kit.scheduled('shop.report')
            self.assertEqual((job.job_type, job.extra), ('one_time', '{"order": 7}'))
