"""What work costs, in floating-point operations: estimates that decide what is refused, said and left out."""

RATE = 1e11  # floating-point operations a second of two cores
PER_ENTRY = 115.0  # what looking at an entry of a circuit costs beside its product, in operations (docs/scaling.md)
