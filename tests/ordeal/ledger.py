"""What all runs have added up to: kept in a file between runs, and printed as a table."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ordeal.campaign import CampaignRow

_HEAD = ("campaign", "repetitions", "longest stall", "lost", "left", "memory", "growth", "found")


class Ledger:
    """A row for each campaign.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[str, CampaignRow] = {}
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            self.rows = {name: CampaignRow(**row) for name, row in stored.items()}

    def row(self, name: str) -> CampaignRow:
        """Return the row of a campaign, an empty one if it never ran."""
        return self.rows.setdefault(name, CampaignRow())

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        stored = {name: row.as_json() for name, row in self.rows.items()}
        fresh.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._path)

    def table(self) -> str:
        """Return the rows as a Markdown table, which is what docs/reliability.md shows."""
        lines = [" | ".join(_HEAD), "|".join(["---"] + ["---:"] * (len(_HEAD) - 1))]
        lines += [" | ".join(_cells(name, row)) for name, row in self.rows.items()]
        return "\n".join(f"| {line} |" for line in lines)


def _cells(name: str, row: CampaignRow) -> list[str]:
    return [
        name,
        f"{row.repetitions:,}",
        f"{row.longest_stall_ns / 1e6:,.0f} ms" if row.longest_stall_ns else "-",
        "-" if row.lost_uncounted is None else f"{row.lost_uncounted:,}",
        "-" if row.leftovers is None else f"{row.leftovers:,}",
        f"{row.peak_kib / 1024:.0f} MiB" if row.peak_kib else "-",
        f"{row.growth_percent:+.1f} %" if row.peak_kib else "-",
        f"{len(row.findings)}",
    ]
