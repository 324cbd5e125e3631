"""A model rates what agents said: one reply at a time, without knowing who said it."""
