"""Files of detectors and trackers -> boxes of frames."""
