"""A gallery in a folder: vector files and the record of rows."""
