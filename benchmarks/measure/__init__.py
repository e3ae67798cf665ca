"""Measure of the benchmarks."""
