"""Tests of mimic.corpus by itself."""
