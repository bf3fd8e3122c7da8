"""Servers, databases, clients, browsers and conversations that several tests use."""
