"""The environment variable by which a process knows that `zatotx start` has started it in the background, so that
`zatotx restart` may replace it: a supervisor such as systemd would take that for the end of its service."""

STARTED_BY_COMMAND = 'ZATOTX_STARTED_BY_COMMAND'
