"""Deployment of services to every node: unpacking, isolated import, checks, storage in the ODB, and atomic
activation."""
