"""Tests of zatotx.wire."""
