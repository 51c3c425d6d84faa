"""The demo: an embedded broker, a worker and a simulated platform, shown on a terminal. It is not for production."""
