"""Report of the benchmarks."""
