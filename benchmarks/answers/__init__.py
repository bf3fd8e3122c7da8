"""Measurements of answers: the messages that a search finds, and the judges of them."""
