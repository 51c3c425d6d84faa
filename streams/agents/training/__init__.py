"""The trainers: churn model and ranker, each trained by one worker for all."""
