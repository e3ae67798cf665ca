"""Cli of the benchmarks."""
