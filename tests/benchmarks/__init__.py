"""Benchmarks: their questions and expectations are right, and small ones run from end to end."""
