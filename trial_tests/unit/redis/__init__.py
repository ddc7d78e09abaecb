"""Tests of zatotx.redis."""
