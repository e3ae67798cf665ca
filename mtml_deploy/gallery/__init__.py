"""The persistent gallery: embeddings that are kept, grow, and are searched."""
