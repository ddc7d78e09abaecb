"""Runs gunicorn's request corpus against the request parser: every case unchanged, with a Host field, and split at
every position."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.corpora import http1_cases, with_host
from trial_tests.support.parsed import one_by_one, outcome
from trial_tests.support.properties import holds

# Invalid for gunicorn by a setting of its own, and legal HTTP/1: taken here. A channel answers them 404: nobody has
# such a path.
LEGAL_HERE = {
    '006': 'a target of 4 KiB: gunicorn allows 4,094 bytes of request line, we 8 KiB of target',
    '010': 'limit_request_field_size = 10 in its settings; plain HTTP with a Host (without one it is refused)',
    '011': 'limit_request_fields = 2 in its settings; byte for byte the valid case 002',
    '012': 'limit_request_field_size = 98 in its settings; byte for byte the valid case 002',
    '019': 'X-Forwarded-Proto against X-Forwarded-Ssl: no field of ours decides by either; needs a Host too',
}
# Valid for gunicorn, refused here even with a Host, each with the status it gets.
REFUSED_HERE = {
    '009': (400, 'Content-Length beside Transfer-Encoding, were it identity: RFC 9112 §6.3 calls it likely smuggling'),
    '024': (431, 'fields of 16 KiB: gunicorn was told to allow them; our limit is 8,190 bytes a field'),
    '026': (431, 'a field of 8,200 bytes: as above'),
    '027': (400, 'octets beyond ASCII in a target: RFC 3986 has none; they are to be percent-encoded'),
    '028': (400, 'a space before the colon: RFC 9112 §5.1 says 400; gunicorn was told to strip it'),
    '025': (501, 'gzip before chunked: RFC 9112 §6.1 says 501 of a coding that is not undone here'),
    '025_line': (501, 'as above'),
    '029': (501, 'identity before chunked: no coding any more (RFC 9112 §7), so one that is not known'),
    '030': (501, 'as above'),
    '031': (501, 'the method -BLARGH: a token, but no method that llhttp knows (RFC 9110 §9.1)'),
    '031compat': (501, 'the method -blargh: as above'),
    '031compat2': (501, 'the method -blargh: as above'),
    '040': (400, 'Transfer_Encoding and Content_Length: the same fields to programs that map - to _'),
    '040_compat': (400, 'as above'),
    '099': (400, 'cut short: Content-Length says 17,914 and 8,543 bytes follow; taken when the rest is sent'),
    'compat_obs_fold': (400, 'a folded field: RFC 9112 §5.2 says 400; gunicorn was told to unfold'),
    'compat_obs_fold_huge': (400, 'as above'),
    'pp_01': (400, 'a PROXY protocol line: not spoken on a channel that was not told to'),
    'pp_02': (400, 'as above'),
    'pp_04': (400, 'a PROXY protocol v2 head: as above'),
    'pp_05': (400, 'as above'),
    'rfc9112_smuggle_gzip_chunked_01': (501, 'gzip before chunked: as 025'),
    'rfc9112_smuggle_te_identity_chunked_01': (501, 'identity before chunked: as 029'),
}
# Invalid for gunicorn, and refused here not as malformed, but as something that is not spoken.
NOT_SPOKEN = {
    '003c': (501, 'the method -bl: a token, but no method that llhttp knows (RFC 9110 §9.1)'),
    'version_02': (505, 'HTTP/2.0: another major version (RFC 9110 §15.6.6)'),
}


class InvalidTests(SynchronousTestCase):
    cases = http1_cases('invalid')

    def test_all_are_here(self) -> None:
        """The corpus is complete, and each listed exception is one of its cases."""
        self.assertEqual(len(self.cases), 74)
        self.assertLessEqual(set(LEGAL_HERE), set(self.cases))

    def test_each_is_refused_as_it_stands(self) -> None:
        """The unchanged bytes of each case are never accepted, except for the listed exceptions."""
        taken = {name for name, data in self.cases.items() if not outcome([data]).status}
        self.assertEqual(taken, {'006', '011', '012'})

    def test_each_is_refused_for_its_own_fault(self) -> None:
        """Each case is rejected even with a Host field, so that a missing Host is not the reason, except for the listed
        exceptions."""
        taken = {name for name, data in self.cases.items() if not outcome([with_host(data)]).status}
        self.assertEqual(taken, set(LEGAL_HERE))

    def test_statuses(self) -> None:
        """Exceeding a limit gives 431, unsupported features 501 or 505, everything else 400. All but the first are
        framing errors."""
        outcomes = {name: outcome([with_host(data)]) for name, data in self.cases.items() if name not in LEGAL_HERE}
        over = {name for name, got in outcomes.items() if got.status == 431 and not got.framing}
        wrong = {name for name, got in outcomes.items()
                 if got.framing and got.status == NOT_SPOKEN.get(name, (400,))[0]}
        self.assertEqual(over, {'007', '008', '009', '017', 'limit_header_default_01'})
        self.assertEqual(over | wrong, set(outcomes))


class ValidTests(SynchronousTestCase):
    cases = http1_cases('valid')

    def test_all_are_here(self) -> None:
        """The corpus is complete, and each listed exception is one of its cases."""
        self.assertEqual(len(self.cases), 63)
        self.assertLessEqual(set(REFUSED_HERE), set(self.cases))

    def test_each_is_taken_with_a_host(self) -> None:
        """Every request of every case is accepted once HTTP/1.1 requests have a Host, except for the listed
        exceptions."""
        for name, data in self.cases.items():
            got = outcome([with_host(data)])
            self.assertEqual((name, got.status), (name, REFUSED_HERE.get(name, (0, ''))[0]), got.reason)
            if not got.status:
                self.assertTrue(all(message.end is not None for message in got.messages), name)

    def test_http_1_1_without_host_is_refused(self) -> None:
        """Unchanged HTTP/1.1 requests without a Host are rejected (RFC 9112 §3.2), and no others."""
        for name, data in self.cases.items():
            if name not in REFUSED_HERE:
                lacks = with_host(data) != data and b'HTTP/1.1\r\n' in data
                first_is_last = name in ('019', '020')  # HTTP/1.0 that closes: what follows it is not read
                self.assertEqual((name, outcome([data]).status), (name, 400 if lacks and not first_is_last else 0))

    def test_a_cut_body_is_waited_for(self) -> None:
        """Case 099 is accepted when the bytes announced by its Content-Length have arrived."""
        data = self.cases['099']
        _, _, body = data.partition(b'\r\n\r\n')
        got = outcome([data, b'x' * (17_914 - len(body))])
        self.assertEqual((got.status, len(got.messages[0].body)), (0, 17_914))

    def test_pipelined_requests_are_told_apart(self) -> None:
        """Cases with two requests yield two; data after a request that closes the connection is ignored."""
        names = ('018', '019', '021', '022', '023')
        both = {name: len(outcome([with_host(self.cases[name])]).messages) for name in names}
        self.assertEqual(both, {'018': 2, '019': 1, '021': 1, '022': 2, '023': 2})

    def test_bodies(self) -> None:
        """Chunked bodies are decoded completely, with separate trailers."""
        got = outcome([with_host(self.cases['012'])]).messages[0]
        self.assertEqual(got.body, b'hello world')
        assert got.end is not None
        self.assertEqual(got.end.trailers, ((b'Vary', b'*'), (b'Content-Type', b'text/plain')))


class SplitTests(SynchronousTestCase):
    """The result does not depend on how the network splits the input."""

    cases = [
        data
        for folder in ('valid', 'invalid')
        for case in http1_cases(folder).values()
        for data in dict.fromkeys((case, with_host(case)))
    ]

    def test_every_split_gives_the_same(self) -> None:
        """Each case split at each position gives the same result as in one piece. Within long runs of letters and
        digits every 101st position stands for its neighbors."""
        for data in self.cases:
            whole = outcome([data]).verdict
            for at in range(1, len(data)):
                if at % 101 and data[max(0, at - 8) : at + 8].isalnum():
                    continue
                if outcome([data[:at], data[at:]]).verdict != whole:
                    self.fail(f'{data[:60]!r}… gives another verdict when it is cut at {at}')

    def test_byte_by_byte_gives_the_same(self) -> None:
        """Each case sent byte by byte gives the same result as in one piece."""
        for data in self.cases:
            self.assertEqual(outcome(one_by_one(data)).verdict, outcome([data]).verdict, data[:60])

    @holds(
        case=st.sampled_from([data for data in cases if len(data) < 400]),
        changes=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(
            [b'', b'\r', b'\n', b'\r\n', b'\0', b' ', b'\t', b':', b';', b'%', b'_', b'0', b'\x80', b'\r\n\r\n']
        )), max_size=4),
        cuts=st.sets(st.integers(0, 400), max_size=6),
    )  # fmt: skip
    def test_damaged_requests_too(
        self, case: bytes, changes: list[tuple[int, bytes]], cuts: set[int]
    ) -> None:
        """Cases with inserted, removed or replaced bytes give one result however they are split, and never an
        unexpected exception."""
        for at, octets in changes:
            case = case[:at] + octets + case[at + 1 :]
        edges = [0, *sorted(cut for cut in cuts if cut < len(case)), len(case)]
        pieces = [case[start:end] for start, end in pairwise(edges)]
        whole = outcome([case]).verdict
        self.assertEqual(outcome(pieces).verdict, whole)
        self.assertEqual(outcome(one_by_one(case)).verdict, whole)
