"""The two functions of the business, `step` and `wake`, and what follows from a score."""
