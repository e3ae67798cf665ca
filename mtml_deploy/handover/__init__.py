"""What programs of others take: models with another input, and the files that name them."""
