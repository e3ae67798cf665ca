"""Rank_page of the benchmarks."""
