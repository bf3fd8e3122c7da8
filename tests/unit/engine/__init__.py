"""Tests of mimic.engine by itself."""
