"""Speed of the benchmarks."""
