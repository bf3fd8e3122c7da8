"""Processes that are killed, stores that are away, full disks, damaged files, slow clients, clocks that are wrong."""
