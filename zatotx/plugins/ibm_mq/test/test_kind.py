"""The declaration of the kind, its object types, its reason codes, and what it says where pymqi is missing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.kind_registry import describe_kinds_for_info, find_kinds
from zatotx.plugins import ibm_mq as plugin
from zatotx.plugins.ibm_mq import schema
from zatotx.plugins.ibm_mq.driver_loading import DriverUnavailable, connect
from zatotx.plugins.ibm_mq.error_mapping import map_error
from zatotx.plugins.ibm_mq.mqi_interfaces import ConnectOptions
from zatotx.plugins.ibm_mq.outgoing import MqFacade
from zatotx.plugins.ibm_mq.reason_codes import TABLE, Action, explain, loses_handle, sentence, table_rows
from zatotx.plugins.ibm_mq.testing import SIGNATURES
from zatotx.schema.meta import ObjectType
from zatotx.schema.validation import validate

PAGE = Path(__file__).resolve().parents[4] / 'docs' / 'ibm-mq.md'


class DisabledTests(SynchronousTestCase):
    def test_without_pymqi(self) -> None:
        """Without pymqi the kind is disabled, with a sentence that says what to install; its object types stay, so that
        no configuration is lost."""
        self.patch(sys, 'path', [folder for folder in sys.path if not (Path(folder) / 'pymqi').exists()])
        self.patch(sys, 'path_importer_cache', {})
        hidden = {name: module for name, module in sys.modules.items() if name.partition('.')[0] == 'pymqi'}
        for name in hidden:
            del sys.modules[name]
        self.addCleanup(sys.modules.update, hidden)
        found = describe_kinds_for_info(find_kinds())['ibm_mq']
        self.assertEqual(found['enabled'], False)
        self.assertEqual(found['why'], "IBM MQ needs pymqi: install IBM's MQ client, then: MQ_FILE_PATH=/opt/mqm pip "
                                       "install 'zatotx[ibm-mq]'")  # fmt: skip
        self.assertEqual(len(schema.OBJECT_TYPES), 3)


class DriverTests(SynchronousTestCase):
    def test_a_client_library_that_cannot_be_loaded(self) -> None:
        """The error says what is missing and what to do."""
        name = f'{plugin.__name__}.pymqi_driver'
        for place, key in ((sys.modules, name), (vars(plugin), 'pymqi_driver')):
            if key in place:
                self.addCleanup(place.__setitem__, key, place.pop(key))
        sys.modules[name] = None  # type: ignore[assignment]
        self.addCleanup(sys.modules.pop, name)
        error = self.assertRaises(DriverUnavailable, connect, ConnectOptions(connection_name='x(1)', channel='C'))
        self.assertIn("cannot load IBM MQ's client library: ", str(error))
        self.assertIn('LD_LIBRARY_PATH', str(map_error(error, 'Outgoing connection out (ibm_mq)', 'cid')))

    def test_scripted_connections(self) -> None:
        """The double of the test kit has the methods and arguments of the real connection."""
        signature = SIGNATURES['ibm_mq']
        real = {name: method for name, method in vars(MqFacade).items() if not name.startswith('_')}
        self.assertEqual(set(signature.methods), set(real))
        parameters = list(inspect.signature(MqFacade.send).parameters.values())[1:]
        self.assertEqual([one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD],
                         list(signature.positional))  # fmt: skip
        self.assertEqual([one.name for one in parameters if one.kind is one.KEYWORD_ONLY], list(signature.options))


class SchemaTests(SynchronousTestCase):
    def errors(self, object_type: ObjectType, fields: Mapping[str, Any]) -> list[str]:
        """The paths of what is wrong."""
        return [path for path, _ in validate(object_type, fields)[1]]

    def test_definition(self) -> None:
        """A definition needs an address and a channel; TLS needs a CipherSpec and a key repository. All mistakes are
        reported at once."""
        given = {'name': 'QM1', 'channel': 'C', 'ssl': True}
        self.assertEqual(self.errors(schema.DEFINITION, given), ['host', 'ssl_cipher_spec', 'ssl_key_repository'])
        wrong = {'name': 'QM1', 'host': 'a b', 'port': 0, 'channel': 'C' * 21, 'connection_names': ['x']}
        self.assertEqual(sorted(self.errors(schema.DEFINITION, wrong)), ['channel', 'connection_names', 'host', 'port'])

    def test_connection_names(self) -> None:
        """Host and port come first, then the further addresses, as IBM MQ writes them."""
        value = schema.MqDefinition(name='QM1', host='one', port=1415, channel='C', connection_names=['two(1414)'],
                                    username='app', password='sEcReT')  # fmt: skip
        options = schema.connect_options(value)
        self.assertEqual(options.connection_name, 'one(1415),two(1414)')
        self.assertNotIn('sEcReT', repr(options))

    def test_channel_and_outgoing(self) -> None:
        """Limits of channels and outgoing connections."""
        channel = {'name': 'in', 'definition': 'QM1', 'queue': 'Q' * 49, 'service': 's', 'consumers': 0,
                   'on_error': 'x'}  # fmt: skip
        self.assertEqual(sorted(self.errors(schema.CHANNEL, channel)), ['consumers', 'on_error', 'queue'])
        outgoing = {'name': 'out', 'definition': 'QM1', 'delivery_mode': 3, 'priority': 10, 'ccsid': 1}
        self.assertEqual(sorted(self.errors(schema.OUTGOING, outgoing)), ['ccsid', 'delivery_mode', 'priority'])

    def test_contract_examples(self) -> None:
        """The examples of the documentation are valid."""
        for object_type, text in (
            (schema.DEFINITION, '{"name": "QM1", "host": "127.0.0.1", "port": 1414, "queue_manager": "QM1", '
                                '"channel": "DEV.APP.SVRCONN", "username": "app", "password": "p", "ssl": false}'),
            (schema.CHANNEL, '{"name": "mq.in", "definition": "QM1", "queue": "DEV.QUEUE.1", "service": "mq.handle", '
                             '"use_jms": true}'),
            (schema.OUTGOING, '{"name": "mq.out", "definition": "QM1", "delivery_mode": 2, "priority": 5, '
                              '"use_jms": true}'),
        ):  # fmt: skip
            self.assertEqual(self.errors(object_type, msgspec.json.decode(text)), [])


class ReasonCodeTests(SynchronousTestCase):
    def test_actions(self) -> None:
        """What follows the codes that matter most."""
        expected = {2009: Action.RECONNECT, 2059: Action.RECONNECT, 2161: Action.RECONNECT, 2202: Action.RECONNECT,
                    2538: Action.RECONNECT, 2033: Action.NONE, 2085: Action.CONFIGURATION, 2035: Action.CONFIGURATION,
                    2053: Action.DEAD_LETTER, 2030: Action.DEAD_LETTER, 2003: Action.RETRY, 2016: Action.RETRY,
                    2024: Action.RETRY, 2080: Action.RETRY}  # fmt: skip
        self.assertEqual({code: explain(code).action for code in expected}, expected)
        self.assertEqual((loses_handle(2009), loses_handle(2085)), (True, False))

    def test_sentences(self) -> None:
        """Each has its number and name; unknown codes have a sentence, too, and those of TLS say so."""
        text = 'names a queue that does not exist (reason code 2085, MQRC_UNKNOWN_OBJECT_NAME)'
        self.assertEqual(sentence(2085), text)
        self.assertIn('reason code 2999', sentence(2999))
        self.assertEqual(explain(2390).action, Action.CONFIGURATION)
        self.assertTrue(all(one.name.startswith('MQRC_') for one in TABLE.values()))

    def test_the_documentation_has_the_table(self) -> None:
        """docs/ibm-mq.md shows the table as `table_rows` gives it."""
        self.assertIn('\n'.join(table_rows()), PAGE.read_text('utf-8'))
