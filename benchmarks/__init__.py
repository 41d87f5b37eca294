"""Side by side with what a user would pick instead: `make bench`."""

import os

# FAISS's threads otherwise take the processor from whoever is timed next. Read once, when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
