"""Durable records, which outlive the request that made them. Storage only; see :mod:`mimic.records.base`."""
