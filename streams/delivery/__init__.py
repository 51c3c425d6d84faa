"""State first, then the news: people kept, written and recovered, outputs sent, and what could not be applied."""
