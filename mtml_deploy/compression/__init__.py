"""Shorter embeddings: learnt, baked into the graph, measured."""
