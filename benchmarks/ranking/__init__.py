"""Ranking of the benchmarks."""
