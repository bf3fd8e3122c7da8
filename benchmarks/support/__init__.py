"""The parts that benchmarks share: load, servers, made-up text, results and reports."""
