"""Seeding by itself: from the bytes of a dump to a store."""
