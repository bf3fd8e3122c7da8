"""The life of a request, whoever brings it: limits, faults, a place, an answer, a reply."""
