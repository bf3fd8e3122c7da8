"""Tests of mimic.wire on its own."""
