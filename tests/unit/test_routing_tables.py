"""Names of routing tables are read as iproute2 reads them."""

from __future__ import annotations

from shaper.desired.routing_tables import parse_tables


def test_a_file_is_read_line_by_line() -> None:
    """Comments and lines that are something else are passed over; numbers may be hexadecimal."""
    text = "# reserved\n254\tmain\n0x64 uplink # ours\n\n7\nseven seven\n8 eight 8\n"
    assert parse_tables(text) == {"main": 254, "uplink": 100}
