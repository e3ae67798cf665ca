"""AI City Challenge 2019, Track 2: the file with the answers, and the labels that score it."""
