"""Tests of the writers that the server and the client share."""
