"""Measurements of Mimic that anyone can repeat."""
