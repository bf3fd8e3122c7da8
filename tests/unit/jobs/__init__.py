"""Tests of mimic.jobs on its own."""
