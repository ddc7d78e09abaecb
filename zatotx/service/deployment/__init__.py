"""Deploys services to every node. The steps are unpacking, isolated import, checks, storage in the ODB, and atomic
activation."""
