"""Recordings: answers of a real service, kept to answer equal requests again."""
