"""Functions that all connector kinds share: registries of outgoing connections, call policies, supervised connections,
thread pools for blocking drivers, and the delivery policy of inbound messages. A kind imports this package; the package
imports no kind.
"""
