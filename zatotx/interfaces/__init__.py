"""Narrow zope interfaces, each beside its subject: the seams along which the house comes apart."""
