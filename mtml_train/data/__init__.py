"""Training images as batches of bytes and labels."""
