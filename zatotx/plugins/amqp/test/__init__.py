"""Tests of the AMQP kind."""
