"""One verb per DVC stage: read parameters and inputs, call the library, write outputs."""
