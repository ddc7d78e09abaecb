"""Tests of zatotx.schema."""
