"""Tests of zatotx.pipeline."""
