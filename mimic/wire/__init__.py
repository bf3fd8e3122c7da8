"""Vendors' formats: from bytes to neutral requests, and from neutral results and errors to bytes."""
