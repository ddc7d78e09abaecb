"""The files in contrib/ that other programs read: systemd, container engines, Kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
CONTRIB = ROOT / 'contrib'
VARIABLES = re.compile(r'\bZATOTX_[A-Z_]+')


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each Kubernetes object with the name of its file."""
    for file in sorted((CONTRIB / 'kubernetes').glob('*.yaml')):
        for document in yaml.safe_load_all(file.read_text('utf-8')):
            yield file.name, document


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pods of all workloads, by name."""
    for _, document in manifests():
        if 'template' in document.get('spec', {}):
            yield document['metadata']['name'], document['spec']['template']['spec']


class SystemdTests(SynchronousTestCase):
    def test_units_are_valid(self) -> None:
        """systemd-analyze verify accepts all units, with the programs of this installation."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        names = []
        for unit in sorted((CONTRIB / 'systemd').iterdir()):
            text = unit.read_text('utf-8').replace('/opt/zatotx/bin/', f'{SCRIPTS}/')
            (directory / unit.name).write_text(text, 'utf-8')
            names.append(unit.name.replace('@.', '@one.'))
        done = subprocess.run(['systemd-analyze', 'verify', '--man=no', *names], capture_output=True, text=True,
                              env={'SYSTEMD_UNIT_PATH': f'{directory}:', 'PATH': '/usr/bin'}, timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('zatotx-server@one.service', names)


class ComposeTests(SynchronousTestCase):
    def test_schema(self) -> None:
        """The compose file is valid by the Compose Specification."""
        schema = files('check_jsonschema') / 'builtin_schemas' / 'vendor' / 'compose-spec.json'
        document = yaml.safe_load((CONTRIB / 'compose.yaml').read_text('utf-8'))
        jsonschema.validate(document, json.loads(schema.read_text('utf-8')))
        document['services']['server1']['comand'] = ['x']
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(document, json.loads(schema.read_text('utf-8')))


class KubernetesTests(SynchronousTestCase):
    def test_schemas(self) -> None:
        """Every object is valid by the schemas of the newest release of Kubernetes, without unknown fields."""
        checked = 0
        for file, document in manifests():
            try:
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                self.fail(f'{file}: {document["kind"]}: {error}')
            checked += 1
        self.assertGreater(checked, 10)

    def test_references(self) -> None:
        """Services, budgets and workloads select the pods of one workload each; volumes and ports exist; the servers
        that others call are those of the StatefulSet."""
        by_kind: dict[str, dict[str, dict[str, Any]]] = {}
        for _, document in manifests():
            by_kind.setdefault(document['kind'], {})[document['metadata']['name']] = document.get('spec', {})
        workloads = {**by_kind['StatefulSet'], **by_kind['Deployment']}
        labels = [spec['template']['metadata']['labels'] for spec in workloads.values()]
        selectors = [spec['selector'] for spec in by_kind['Service'].values()]
        selectors += [spec['selector']['matchLabels']
                      for spec in (*workloads.values(), *by_kind['PodDisruptionBudget'].values())]  # fmt: skip
        for selector in selectors:
            self.assertEqual(sum(selector.items() <= one.items() for one in labels), 1, selector)
        for name, spec in by_kind['StatefulSet'].items():
            self.assertIn(spec['serviceName'], by_kind['Service'], name)
        servers = by_kind['StatefulSet']['zatotx-server']
        expected = ','.join(f'zatotx-server-{number}.{servers["serviceName"]}:17010'
                            for number in range(servers['replicas']))  # fmt: skip
        for name in ('zatotx-load-balancer', 'zatotx-web-admin'):
            variables = workloads[name]['template']['spec']['containers'][0]['env']
            self.assertIn({'name': 'ZATOTX_SERVERS', 'value': expected}, variables)

    def test_pods(self) -> None:
        """No pod is privileged or takes the variables of Services for its own; those that clients call go on serving
        for a while before SIGTERM, and every container has probes."""
        for name, spec in pod_specs():
            self.assertTrue(spec['securityContext']['runAsNonRoot'], name)
            self.assertFalse(spec['enableServiceLinks'], name)
            for container in (*spec['containers'], *spec.get('initContainers', ())):
                security = container['securityContext']
                self.assertEqual((security['readOnlyRootFilesystem'], security['capabilities']),
                                 (True, {'drop': ['ALL']}), name)  # fmt: skip
                volumes = {volume['name'] for volume in spec['volumes']}
                self.assertLessEqual({mount['name'] for mount in container['volumeMounts']}, volumes, name)
                if spec.get('restartPolicy') != 'Never':
                    self.assertIn('livenessProbe', container, name)
                    self.assertIn('readinessProbe', container, name)
        specs = dict(pod_specs())
        for name in ('zatotx-server', 'zatotx-load-balancer'):
            self.assertEqual(specs[name]['containers'][0]['lifecycle']['preStop']['exec']['command'], ['sleep', '10'])


class VariableTests(SynchronousTestCase):
    def test_all_are_documented(self) -> None:
        """docs/containers.md has each variable that `zatotx run` reads, and those that contrib/ uses exist."""
        source = (ROOT / 'zatotx' / 'cli' / 'environment' / 'container_component.py').read_text('utf-8')
        names = re.findall(r"variables\.(?:text|required|number|items|address)\(\s*'(\w+)'", source)
        read = {f'ZATOTX_{name}' for name in names} | {f'ZATOTX_{name}_PASSWORD' for name in ('ADMIN', 'API', 'PUBAPI')}
        documented = set(VARIABLES.findall((ROOT / 'docs' / 'containers.md').read_text('utf-8')))
        self.assertEqual(read - documented, set())
        compose = yaml.safe_load((CONTRIB / 'compose.yaml').read_text('utf-8'))
        used = {name for service in compose['services'].values() for name in service.get('environment', ())
                if name.startswith('ZATOTX_')}  # fmt: skip
        used |= {variable['name'] for _, spec in pod_specs()
                 for container in spec['containers'] for variable in container.get('env', ())}  # fmt: skip
        used |= {name for _, document in manifests() if document['kind'] == 'ConfigMap' for name in document['data']}
        self.assertEqual(used - read, set())
