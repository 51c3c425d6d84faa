"""Evaluates the models on real data and on simulations, compared with baselines."""
