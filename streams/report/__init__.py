"""The report of a replay: one HTML file with pictures, each with the sentence that says what it shows."""
