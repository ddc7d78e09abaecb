"""Tests of the HTTP kind. While they run, each transition of a connection or a call must be in the table of its class.
"""

from zatotx.plugins.http.test.state_checks import check_transitions

check_transitions()
