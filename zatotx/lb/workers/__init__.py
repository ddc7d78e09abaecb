"""Load balancers with several worker processes. The package contains the parent process, and the state that the
processes share."""
