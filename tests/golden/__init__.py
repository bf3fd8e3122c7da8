"""A golden record: requests, and what the server answered to each of them when they were recorded."""
