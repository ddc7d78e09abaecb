"""Tests of zatotx.testing."""
