"""What a user names to records, and records to batches of uint8 images."""
