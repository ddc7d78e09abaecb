"""Peers that no Debian package has, written for the tests."""
