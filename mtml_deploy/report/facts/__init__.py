"""What a model, an embeddings file, a run or a gallery is, and what can be done with it."""
