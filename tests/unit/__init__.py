"""Parts of Mimic by themselves, within the process of the test."""
