"""Campaigns, the decision to send an offer, and the attribution of purchases and redemptions to offers."""
