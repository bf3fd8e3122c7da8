"""Similar messages: the measure of likeness, the index of words, and the vectors of meaning."""
