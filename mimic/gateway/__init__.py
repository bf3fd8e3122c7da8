"""The steps of a request over any transport: limits, faults, the queue, an answer, a reply."""
