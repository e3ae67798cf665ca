"""Branches of the benchmarks."""
