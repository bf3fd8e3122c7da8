"""Matching of a chat with the corpus."""
