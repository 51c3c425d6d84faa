"""The report of a replay: what it leaves behind, as files, figures, words, and one page that can be sent to anybody."""
