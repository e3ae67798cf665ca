"""The networks a branch can be made of, by name, and the pretrained weights they start from."""
