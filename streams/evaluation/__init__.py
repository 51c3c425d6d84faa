"""How good the models are on real data, beside what they have to beat."""
