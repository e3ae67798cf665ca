"""Accuracy of training: the recipes beside peers' own, from the same images in as many steps."""
