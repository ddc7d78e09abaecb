"""Tests of single modules: no processes, no foreign sockets. `unit/<package>/test_<module>.py` tests
`zatotx/<package>/<module>.py`."""
