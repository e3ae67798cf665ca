"""Running an exported model: uint8 images in, embeddings out, one backend behind one protocol."""
