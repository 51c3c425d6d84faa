"""What each person would like next, in two stages: cheap candidates, then a ranker that learns online.

A reader of rows keeps an `Index`; `generators` draw candidates from it, `features` describe them, a `ranker` orders
them, and `lists` makes of that what somebody is shown.
"""
