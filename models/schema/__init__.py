"""Input and output contracts: event types and their codec, output types, and the errors of invalid input."""
