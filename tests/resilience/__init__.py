"""Killed processes, unreachable stores, full disks, damaged files, slow clients, wrong clocks."""
