"""Tests of the SQL kind."""
