"""Training side: labelled images in, checkpoint and artifact out. Needs the extra `train`."""
