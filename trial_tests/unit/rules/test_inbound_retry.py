"""When a message whose service failed is delivered again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.resilience.inbound_retry import (
    DeliveryHistory,
    FailedDeliveryAttempt,
    InboundRetryPolicy,
    inbound_retry_delay,
    is_permanent_failure,
)

POLICY = InboundRetryPolicy(attempts=4, backoff=1.0, max_delay=3.0)


def after(attempts: int, status: int = 500) -> float | None:
    history = DeliveryHistory()
    for at in range(attempts):
        history = history.failed(float(at), 'no')
    return inbound_retry_delay(POLICY, history, status, lambda: 1.0)


class RetryTests(SynchronousTestCase):
    def test_delays_grow(self) -> None:
        """Delays double up to the longest one; after the last attempt the message is given up."""
        self.assertEqual([after(number) for number in (1, 2, 3, 4, 5)], [1.0, 2.0, 3.0, None, None])

    def test_one_attempt(self) -> None:
        """Without retries the first failure is the last one."""
        self.assertIsNone(
            inbound_retry_delay(InboundRetryPolicy(), DeliveryHistory().failed(0, 'no'), 500, lambda: 1.0)
        )

    def test_usual_delays(self) -> None:
        """Without configuration of its own a channel waits a second at first, and a minute at most; before the first
        failure there is one attempt to make."""
        usual = InboundRetryPolicy(attempts=99)
        delays = [
            inbound_retry_delay(usual, DeliveryHistory(attempts=number), 500, lambda: 1.0)
            for number in (1, 2, 6, 7, 98)
        ]
        self.assertEqual(delays, [1.0, 2.0, 32.0, 60.0, 60.0])
        self.assertEqual(inbound_retry_delay(InboundRetryPolicy(), DeliveryHistory(), 500, lambda: 1.0), 1.0)

    def test_errors_of_the_message(self) -> None:
        """A message that is wrong itself is given up at once; one that came at a bad moment is not."""
        self.assertEqual([after(1, status) for status in (400, 404, 422)], [None, None, None])
        permanent = [status for status in range(700) if is_permanent_failure(status)]
        self.assertEqual(permanent, [*range(400, 429), *range(430, 500)])
        self.assertEqual([after(1, status) for status in (429, 503, 504)], [1.0, 1.0, 1.0])

    def test_history(self) -> None:
        """The history has the number of the attempts, the first failure and the last one."""
        history = DeliveryHistory().failed(1.0, 'a').failed(2.0, 'b').failed(3.0, 'c')
        self.assertEqual((history.attempts, history.first, history.last),
                         (3, FailedDeliveryAttempt(1.0, 'a'), FailedDeliveryAttempt(3.0, 'c')))
