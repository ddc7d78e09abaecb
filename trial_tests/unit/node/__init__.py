"""Tests of zatotx.node."""
