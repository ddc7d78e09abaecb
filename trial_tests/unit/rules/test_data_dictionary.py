"""Data dictionaries, their import and export, and the grammar of remote commands."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from bz2 import compress, decompress
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import BadRequest, Conflict, NotFound
from zatotx.rules.enmasse.dictionary_import import export_rows, plan_dictionary
from zatotx.rules.redis.data_dictionary import (
    DataDictionary,
    decode_dictionary,
    encode_dictionary,
    export_text,
    import_text,
    translation_lookup_key,
)
from zatotx.rules.redis.remote_command import format_redis_reply, parse_redis_command

POLAND, CODE, NUMBER = ('CRM', 'country', 'PL'), ('ERP', 'ctry', '616'), ('ERP', 'ctry', '617')
ROW = {'system1': 'CRM', 'key1': 'country', 'value1': 'PL', 'system2': 'ERP', 'key2': 'ctry', 'value2': '616'}


def filled() -> DataDictionary:
    dictionary = DataDictionary()
    for entry in (POLAND, CODE, NUMBER):
        dictionary.add_entry(entry)
    dictionary.add_translation(POLAND, CODE)
    return dictionary


class DictionaryTests(SynchronousTestCase):
    def test_entries(self) -> None:
        """Ids are not used again; an entry exists once; names begin with a letter, digit or underscore."""
        dictionary = filled()
        self.assertEqual([one.id for one in dictionary.entries()], [1, 2, 3])
        dictionary.delete_entry(3)
        self.assertEqual(dictionary.add_entry(NUMBER), 4)
        with self.assertRaisesRegex(Conflict, r"entry \('ERP', 'ctry', '616'\) exists already"):
            dictionary.add_entry(CODE)
        for entry in (('', 'k', 'v'), ('s', ' k', 'v'), ('s', 'k', ':'), ('s', 'k', 'v' * 10_001)):
            with self.assertRaises(BadRequest):
                dictionary.add_entry(entry)
        for change in (dictionary.delete_entry, dictionary.delete_translation):
            with self.assertRaisesRegex(NotFound, 'with id 99'):
                change(99)

    def test_translations(self) -> None:
        """An entry has one translation to a system and key; both entries must exist."""
        dictionary = filled()
        with self.assertRaisesRegex(Conflict, "has a translation .* already: '616'"):
            dictionary.add_translation(POLAND, NUMBER)
        dictionary.edit_translation(1, POLAND, NUMBER)
        self.assertEqual(dictionary.lookup_table(), {translation_lookup_key(*POLAND, 'ERP', 'ctry'): '617'})
        with self.assertRaisesRegex(NotFound, 'create it first'):
            dictionary.add_translation(CODE, ('CRM', 'country', 'XX'))
        dictionary.delete_translation(1)
        self.assertEqual((dictionary.lookup_table(), len(dictionary.entries())), ({}, 3))

    def test_editing_entries(self) -> None:
        """Editing an entry changes its translations, deleting it deletes them; ambiguity is refused."""
        dictionary = filled()
        dictionary.edit_entry(2, ('ERP', 'ctry', '600'))
        self.assertEqual(list(dictionary.lookup_table().values()), ['600'])
        germany = dictionary.add_entry(('CRM', 'country', 'DE'))
        dictionary.add_translation(('CRM', 'country', 'DE'), ('ERP', 'ctry', '600'))
        dictionary.edit_entry(germany, ('CRM', 'country', 'D'))
        with self.assertRaises(Conflict):
            dictionary.edit_entry(germany, POLAND)
        dictionary.delete_entry(2)
        self.assertEqual(dictionary.lookup_table(), {})

    def test_ambiguous_edit(self) -> None:
        """An edit that gives an entry two translations to one system and key is refused."""
        dictionary = filled()
        other = dictionary.add_entry(('ERP', 'other', '1'))
        dictionary.add_translation(POLAND, ('ERP', 'other', '1'))
        with self.assertRaisesRegex(Conflict, 'two translations'):
            dictionary.edit_entry(other, ('ERP', 'ctry', '1'))

    def test_stored(self) -> None:
        """A dictionary is stored as it is."""
        self.assertEqual(decode_dictionary(encode_dictionary(filled())), filled())
        self.assertEqual(decode_dictionary(b''), DataDictionary())

    def test_import_and_export(self) -> None:
        """Zato's form of an export is imported; ids may be text, as Redis gave them."""
        self.assertEqual(import_text(export_text(filled())), filled())
        rows = [{'id': '7', **ROW}]
        entries = [{'id': str(number), 'system': s, 'key': k, 'value': v}
                   for number, (s, k, v) in enumerate((POLAND, CODE), 5)]  # fmt: skip
        text = pack({'last_dict_id': '9', 'last_translation_id': 7, 'dict_list': entries, 'translation_list': rows})
        imported = import_text(text)
        self.assertEqual((imported.last_entry_id, imported.links), (9, {7: (5, 6)}))
        self.assertEqual(json.loads(decompress(b64decode(export_text(imported))))['data']['last_dict_id'], 9)

    def test_wrong_imports(self) -> None:
        """What cannot be imported is refused with a sentence."""
        entry = {'id': 1, 'system': 'CRM', 'key': 'country', 'value': 'PL'}
        for text, reason in (
            ('???', 'not base64 of bz2'), (b64encode(b'x').decode(), 'not base64 of bz2'),
            (b64encode(compress(b'{}')[:-4]).decode(), 'incomplete'), (b64encode(compress(b'[')).decode(), 'data:'),
            (pack({'dict_list': [{'id': 1}]}), 'missing required field'),
            (pack({'dict_list': [entry, {**entry, 'id': 2}]}), 'occurs twice'),
            (pack({'dict_list': [{**entry, 'key': ''}]}), 'must begin with'),
            (pack({'translation_list': [{'id': 1, **ROW}]}), 'which is missing'),
        ):  # fmt: skip
            with self.assertRaisesRegex(BadRequest, reason):
                import_text(text)


def pack(data: Any) -> str:
    return b64encode(compress(json.dumps({'data': data}).encode())).decode()


class EnmasseTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """Rows add translations and single entries, and change values; a second import changes nothing."""
        rows = [ROW, {'system': 'A', 'key': 'b', 'value': 5}]
        plan = plan_dictionary(rows, DataDictionary(), references_resolved=True)
        self.assertEqual((plan.errors, plan.changed, plan.unchanged), ([], 2, 0))
        self.assertEqual(plan.diff_lines, ['+ data_dictionary CRM, country, PL -> ERP, ctry, 616',
                                           '+ data_dictionary A, b, 5'])  # fmt: skip
        self.assertEqual(export_rows(plan.dictionary), [ROW, {'system': 'A', 'key': 'b', 'value': '5'}])
        again = plan_dictionary(export_rows(plan.dictionary), plan.dictionary, references_resolved=True)
        self.assertEqual((again.changed, again.unchanged), (0, 2))
        changed = plan_dictionary([{**ROW, 'value2': '1'}], plan.dictionary, references_resolved=True)
        self.assertEqual(changed.diff_lines, ['~ data_dictionary CRM, country, PL -> ERP, ctry, 1 (was 616)'])
        self.assertEqual(plan_dictionary(None, DataDictionary(), references_resolved=True).changed, 0)

    def test_errors(self) -> None:
        """All errors are reported, each with its row and field."""
        plan = plan_dictionary(
            [{**ROW, 'value3': 1}, 5, {**ROW, 'key1': ''}, {'system': 'a', 'key': [], 'value': True}, ROW, dict(ROW),
             {**ROW, 'value1': ':'}, {**ROW, 'value1': '${X}'}], DataDictionary(), references_resolved=False,
        )  # fmt: skip
        self.assertEqual([str(error).partition(':')[0] for error in plan.errors],
                         [f'data_dictionary #{n}' for n in (1, 2, 3, 4, 4, 6, 7, 8)])  # fmt: skip
        text = '\n'.join(map(str, plan.errors))
        for part in ('value3: unknown field', 'key1: missing', 'key: expected text', 'repeats #5', 'to a variable'):
            self.assertIn(part, text)
        self.assertEqual(len(plan_dictionary({}, DataDictionary(), references_resolved=True).errors), 1)


class RemoteCommandTests(SynchronousTestCase):
    def test_grammar(self) -> None:
        """Words are separated by spaces; quotes are optional, and keep spaces."""
        self.assertEqual(parse_redis_command(' set  key "a \\"b\\" c" '), ['SET', 'key', 'a "b" c'])
        self.assertEqual(parse_redis_command('DEL ""'), ['DEL', ''])
        for text in ('', '  ', 'FLUSHALL', 'flushdb', 'config get *', 'EVAL "" 0', 'SHUTDOWN', 'GET "a', 'GET "a"b'):
            with self.assertRaisesRegex(BadRequest, 'Command parsing error'):
                parse_redis_command(text)

    def test_replies(self) -> None:
        """Nothing is shown as (None), HGETALL as a mapping, bytes as a literal."""
        for words, reply, shown in (
            (['GET'], None, '(None)'), (['KEYS'], [], '(None)'), (['GET'], 'a', 'a'), (['INCR'], 5, 5),
            (['HGETALL'], ['a', b'\xff'], {'a': '\\xff'}), (['MGET'], ['a', None], ['a', None]),
        ):  # fmt: skip
            self.assertEqual(format_redis_reply(words, reply), shown)
