"""The rooms of the simulated platform: its courses, its learners' traits, lives and visits, and their answers."""
