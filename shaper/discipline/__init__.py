"""Disciplines: which frame leaves next, and when. Pure: no socket, no clock.

What may live here: decisions about frames, lengths and time. What may not: an import of
`os`, `socket`, `time` or `asyncio`. `now` is always an integer number of ticks.
"""
