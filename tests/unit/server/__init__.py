"""Tests of mimic.server on its own."""
