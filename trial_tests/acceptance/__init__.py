"""Tests of whole environments, driven from outside through commands and sockets."""
