"""Tests of mimic.gateway by itself."""
