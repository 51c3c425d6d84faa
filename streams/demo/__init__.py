"""The demo: an embedded broker, a worker and a simulated platform, played and watched. For eyes, not for production."""
