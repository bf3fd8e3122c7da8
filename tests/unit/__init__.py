"""Parts of Mimic on their own, within the process of the test."""
