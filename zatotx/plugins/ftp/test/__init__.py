"""Tests of the FTP kind."""
