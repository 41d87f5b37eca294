"""A control in which counting is not enough: grammars whose rules share words, and small models that read them."""
