"""Tests of zatotx.tap."""
