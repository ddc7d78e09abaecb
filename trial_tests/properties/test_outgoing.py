"""Properties of outgoing calls: circuit breakers, retry budgets, URL templates, challenges."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_to_bytes

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.resilience.circuit_breaker import CLOSED, HALF_OPEN, CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import CallRetryBudget, parse_retry_after
from zatotx.rules.routing.url_template import UrlTemplate, encode_query
from zatotx.wire.http.authentication import parse_challenges, parse_parameters, quote_string

NOW = 1_795_600_000.0
TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=20)


def end(breaker: CircuitBreaker, how: str, ticket: int, now: float) -> None:
    """Ends an admitted call."""
    if how == 'good':
        breaker.record_success(ticket)
    elif how == 'bad':
        breaker.record_failure(ticket, now)
    else:
        breaker.record_abandoned(ticket)


class BreakerProperties(SynchronousTestCase):
    @holds(steps=st.lists(st.tuples(st.sampled_from(('enter', 'good', 'bad', 'left')), st.floats(0, 4)), max_size=60),
           failures=st.integers(1, 4))
    def test_whatever_happens(self, steps: list[tuple[str, float]], failures: int) -> None:
        """No call is admitted during the reset time, and at most one while half-open. After all calls ended and the
        reset time passed, a call is admitted, and one success closes the breaker."""
        breaker, now, inside = CircuitBreaker(failures, 5.0), 0.0, list[int]()
        for what, later in steps:
            now += later
            before, wait = breaker.state, breaker.wait_time(now)
            if what == 'enter':
                ticket = breaker.acquire(now)
                self.assertEqual(ticket is None, before == HALF_OPEN or wait > 0)
                if ticket is not None:
                    inside.append(ticket)
            elif inside:
                end(breaker, what, inside.pop(0), now)
        for ticket in inside:
            breaker.record_abandoned(ticket)
        probe = breaker.acquire(now + 5.0)
        assert probe is not None
        breaker.record_success(probe)
        self.assertEqual(breaker.state, CLOSED)


class RetryProperties(SynchronousTestCase):
    @holds(steps=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.floats(0, 8)), max_size=30))
    def test_never_over_the_share(self, steps: list[tuple[int, int, float]]) -> None:
        """In any ten seconds there are at most a fifth of the calls of twice that time as retries, or ten."""
        budget, now = CallRetryBudget(), 0.0
        calls, retries = list[float](), list[float]()
        for called, wanted, later in steps:
            now += later
            for _ in range(called):
                budget.record_call(now)
            calls += [now] * called
            retries += [now] * sum(budget.try_acquire(now) for _ in range(wanted))
        for last in retries:
            lately = [at for at in retries if last - 10.0 < at <= last]
            around = [at for at in calls if last - 20.0 <= at <= last]
            self.assertLessEqual(len(lately), max(10, 0.2 * len(around)))

    @holds(value=st.binary(max_size=40))
    def test_retry_after_of_anything(self, value: bytes) -> None:
        """Any Retry-After gives non-negative seconds or None."""
        found = parse_retry_after(value, NOW)
        self.assertTrue(found is None or found >= 0.0)


class TargetProperties(SynchronousTestCase):
    @holds(value=TEXT)
    def test_a_parameter_is_one_segment(self, value: str) -> None:
        """Any path parameter remains one segment and is decoded to the original value, or is rejected."""
        try:
            target, _ = UrlTemplate('/a/{x}/b').fill({'x': value})
        except ValueError:
            self.assertIn(value, ('', '.', '..'))
            return
        self.assertTrue(target.isascii() and not any(byte <= 0x20 or byte == 0x7F for byte in target))
        first, second, third = target[1:].split(b'/')
        self.assertEqual((first, unquote_to_bytes(second), third), (b'a', value.encode(), b'b'))

    @holds(pairs=st.lists(st.tuples(TEXT, TEXT), max_size=5))
    def test_a_query_is_read_back(self, pairs: list[tuple[str, str]]) -> None:
        """Arbitrary names and values are decoded to the originals in order."""
        found = parse_qsl(encode_query(pairs).decode('ascii'), keep_blank_values=True, strict_parsing=bool(pairs))
        self.assertEqual(found, pairs)


class ChallengeProperties(SynchronousTestCase):
    @holds(examples=300, value=st.one_of(
        st.binary(max_size=60), st.text('Basic dgst=",\\ \t', max_size=40).map(str.encode),
    ))  # fmt: skip
    def test_anything(self, value: bytes) -> None:
        """Any challenge field is parsed without an exception."""
        self.assertIsInstance(parse_challenges([value, value]), list)
        self.assertIsInstance(parse_parameters(value), dict)

    @holds(value=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters='\x7f'), max_size=30))
    def test_what_is_quoted_is_read_back(self, value: str) -> None:
        """A quoted string is parsed back as a parameter among others."""
        field = f'Digest a={quote_string(value)}, b=c'.encode('latin-1')
        self.assertEqual(parse_challenges([field])[0].params, {'a': value, 'b': 'c'})
