"""Campaigns, and the attribution of purchases and redemptions to offers."""
