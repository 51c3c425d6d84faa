"""The simulated platform: its courses, its learners with their traits, lives and visits, and their replies."""
