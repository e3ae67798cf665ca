"""Images to embeddings: in memory, to a file, pooled."""
