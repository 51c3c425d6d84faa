"""What goes in and out: event types, output types, and the errors of invalid input."""
