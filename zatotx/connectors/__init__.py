"""Functions that all connector kinds share: registries of outgoing connections, call policies, supervised connections,
thread pools for blocking drivers, and the delivery policy of inbound messages. Kinds import this package, and this
package imports no kind.
"""
