"""Mimic: an OpenAI-style chat API that answers from real conversations."""

__version__ = "0.2.0"
