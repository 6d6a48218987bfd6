"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("shaper", deadline=None)
settings.load_profile("shaper")
