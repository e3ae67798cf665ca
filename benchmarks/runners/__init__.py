"""Runners of the benchmarks."""
