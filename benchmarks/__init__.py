"""Measurements of Mimic, to be repeated by whoever doubts them."""
