"""Questions asked of what the pipeline has made, one file for each command of `skiptrace`."""
