"""Benchmarks: what they measure and expect is right, and small ones run from end to end."""
