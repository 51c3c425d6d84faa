"""The report of a replay: its outputs as files, and one HTML page with figures and text that needs no other file."""
