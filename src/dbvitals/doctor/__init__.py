"""One probe span and one probe metric, followed through the pipeline."""
