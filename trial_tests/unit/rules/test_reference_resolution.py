"""Tests of references in configuration: what is one, what it resolves to, and how text stays text."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.enmasse.reference_resolution import (
    ReferenceResolver,
    escape_references,
    has_reference,
    has_unresolved_reference,
    is_obvious_reference,
)


class TextTests(SynchronousTestCase):
    """References as text."""

    def test_what_refers(self) -> None:
        """At any depth, and nothing that only looks alike."""
        referring: list[object] = ['${A}', 'x${A}', 'file:x', ['a', {'b': 'file:x'}]]
        others: list[object] = ['$${A}', '$file:x', 'a file:x', '$A', 5, None, ['a', {'b': '{A}'}], {}]
        self.assertEqual([has_reference(value) for value in (*referring, *others)], [True] * 4 + [False] * 8)

    def test_escaped_text_is_itself(self) -> None:
        """Whatever it looks like."""
        nowhere = ReferenceResolver(environ={}, read_file=lambda path: 'read', zato_syntax=True)
        for text in ('${A}', '$${A}', '$$${A}', 'file:x', '$file:x', '$$file:${A}', 'file:', 'plain', '', '$A', '$$A',
                     'Zato_Enmasse_Env.A', '$ZATO_ENMASSE_ENV_A', 'x Zato_Enmasse_Env.A', 'file:ZatoEnmasseEnv.A'):
            wrong: list[str] = []
            self.assertEqual((nowhere.resolve(escape_references(text), wrong), wrong), (text, []))

    def test_zato_forms(self) -> None:
        """A whole value in Zato's words is a variable; one that is not there, or stands within a longer text, is a
        mistake that does not show what may be a password."""
        environ = {'PW': 's3cret', 'Zato_Enmasse_Env_OWN': 'own', 'my.var-1': 'odd'}
        sources = ReferenceResolver(environ=environ, zato_syntax=True)
        for text, value in (('Zato_Enmasse_Env.PW', 's3cret'), ('ZatoEnmasseEnv.PW', 's3cret'), ('$PW', 's3cret'),
                            ('Zato_Enmasse_Env_PW', 's3cret'), ('Zato_Enmasse_Env_OWN', 'own'), ('$$PW', '$PW'),
                            ('Zato_Enmasse_Env.my.var-1', 'odd'), ('$Zato_Enmasse_Env.PW', 'Zato_Enmasse_Env.PW'),
                            ('$ecret', '$ecret'), ('a $PW', 'a $PW'), ('$PW9x', '$PW9x')):
            wrong: list[str] = []
            self.assertEqual((sources.resolve(text, wrong), wrong), (value, []), text)
        for text, said in (('Zato_Enmasse_Env.GONE', "no variable 'GONE'"), ('ZatoEnmasseEnv.', "no variable ''"),
                           ('$GONE', 'begin with $$'), ('http://u:Zato_Enmasse_Env.PW@h', 'write ${NAME}')):
            wrong = []
            sources.resolve(text, wrong)
            self.assertIn(said, ''.join(wrong))
            self.assertNotIn('s3cret', ''.join(wrong))
            self.assertNotIn('$GONE', ''.join(wrong))

    def test_what_is_evidently_no_secret(self) -> None:
        """References that nobody read are told from passwords that have a dollar."""
        for text in ('${PW}', 'Zato_Enmasse_Env.PW', 'ZatoEnmasseEnv.PW', 'Zato_Enmasse_Env_PW', 'file:/run/pw'):
            self.assertTrue(
                is_obvious_reference(text) and (has_unresolved_reference([{'a': text}]) or text.startswith('file:')),
                text,
            )
        for text in ('$PW', 'pa${x}', '$argon2id$v=19', 'file:x', 'plain', ''):
            self.assertFalse(is_obvious_reference(text), text)

    def test_what_was_not_read(self) -> None:
        """Unreplaced references are found at any depth; other values have none."""
        value: Any
        for value in ('${A}', 'Zato_Enmasse_Env.A', '$A', ['x', {'a': 'a ${A}'}]):
            self.assertTrue(has_unresolved_reference(value), value)
        for value in ('A', '$a', 'file:x', 5, None, ['x', {'${A}': 'y'}], ()):
            self.assertFalse(has_unresolved_reference(value), value)

    def test_escaped_values(self) -> None:
        """Lists and mappings are escaped at any depth, keys and other values are unchanged."""
        value = {'${A}': ['${A}', 5, None, {'x': 'file:y'}]}
        self.assertEqual(escape_references(value), {'${A}': ['$${A}', 5, None, {'x': '$file:y'}]})
        self.assertEqual([escape_references(text) for text in ('$A', '$$A', '$a', '$$file:x', 'a file:x')],
                         ['$$A', '$$$A', '$a', '$$$file:x', 'a file:x'])  # fmt: skip

    def test_without_zato_forms(self) -> None:
        """In server.toml Zato's forms are plain text, as files are where they cannot be read."""
        sources = ReferenceResolver(environ={'A': 'a', 'B': '${A}'})
        wrong: list[str] = []
        value = ['Zato_Enmasse_Env.A', '$A', '$$A', '${A}${B}', '$${A}', 'file:x', '$file:x', 5, {'${A}': '${A}'}]
        self.assertEqual(sources.resolve(value, wrong), [
            'Zato_Enmasse_Env.A', '$A', '$$A', 'a${A}', '${A}', 'file:x', '$file:x', 5, {'${A}': 'a'},
        ])  # fmt: skip
        self.assertEqual(wrong, [])

    def test_errors(self) -> None:
        """Each missing variable is named once per value, and leaves nothing behind; a file whose path has one is not
        read."""

        def read(path: str) -> str:
            raise ValueError(f'no {path}')

        sources = ReferenceResolver(environ={'A': 'a'}, read_file=read, zato_syntax=True)
        no = 'the environment has no variable'
        for value, found, said in (
            ('x${B}y${B}${C}', 'xy', [f'{no} {name!r}' for name in 'BC']),
            ('file:${B}', '', [f"{no} 'B'"]), ('file:${A}/b', '', ['no a/b']),
            ('$GONE', '', ['it reads as $NAME, a variable that the environment does not have: set it, or begin with $$ '
                           'where it is the text itself']),
            ('x Zato_Enmasse_Env.A y', 'x ato_Enmasse_Env.A y',
             ['Zato_Enmasse_Env.NAME must be the whole value: write ${NAME} within a longer text']),
            ('x $Zato_Enmasse_Env.A y', 'x Zato_Enmasse_Env.A y', []),
        ):  # fmt: skip
            wrong: list[str] = []
            self.assertEqual((sources.resolve(value, wrong), wrong), (found, said), value)
        wrong = ['earlier']
        self.assertEqual((sources.resolve('file:${A}', wrong), wrong), ('', ['earlier', 'no a']))
        sources = ReferenceResolver(environ={'A': 'a'}, read_file=lambda path: f'<{path}>', zato_syntax=True)
        self.assertEqual(sources.resolve('file:${A}', wrong), '<a>')
