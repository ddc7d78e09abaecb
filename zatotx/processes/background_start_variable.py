"""The environment variable that marks a process that `zatotx start` has started in the background. Only such a process
may be replaced by `zatotx restart`, because a supervisor such as systemd would take the replacement for the end of its
service."""

STARTED_BY_COMMAND = 'ZATOTX_STARTED_BY_COMMAND'
