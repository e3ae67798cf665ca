"""Protocols, ranks of matches, metrics."""
