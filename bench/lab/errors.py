"""What can go wrong in the lab itself, as opposed to in the thing it measures."""

from __future__ import annotations


class LabError(Exception):
    """The lab could not do its work; the message says what and why."""


class MissingError(LabError):
    """The machine, or the user, lacks something that the lab cannot do without."""


class LossError(LabError):
    """The capture missed frames, so nothing may be concluded from it."""
