"""Tests of zatotx.metrics."""
