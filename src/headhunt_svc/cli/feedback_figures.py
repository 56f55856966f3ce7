"""Prints what `headhunt demo feedback` has measured."""

from typing import Any

from rich.table import Table

from headhunt_svc.cli.console import safe, wide


def _change(row: dict[str, Any], name: str, digits: int = 2) -> str:
    return f"{row['before'][name]:.{digits}f} -> {row['after'][name]:.{digits}f}"


def _kinds(rows: dict[str, Any], title: str, shown: str) -> Table:
    columns = ("segments marked", shown, "AUC of other kinds", "worst of them", "recall", "alarms in normal segments")
    table = Table("kind", "up to", *columns, title=title)
    for most, by_kind in rows.items():
        for kind, row in by_kind.items():
            others = [name for name in row["before"] if name.startswith("auc_")]
            worst = min(others, key=lambda name: row["after"][name] - row["before"][name])
            figures = [_change(row, "shown"), _change(row, "auc", 3)]
            figures += [f"{safe(worst.removeprefix('auc_'))} {_change(row, worst)}", _change(row, "recall")]
            table.add_row(safe(kind), most, f"{row['marks']:.1f}", *figures, _change(row, "false_alarms", 3))
    return table


def _means(rows: dict[str, Any]) -> Table:
    columns = ("share of segments with an alarm", "fewer", "AUC of other kinds", "their recall")
    table = Table("up to", *columns, title="Harmless: mean over kinds (± standard error over kinds)")
    for most, row in rows.items():
        changes = []
        for name in ("auc", "recall"):
            change = row["change"][name]
            error = "" if change["error"] is None else f" ± {change['error']:.3f}"
            changes.append(f"{change['mean']:+.3f}{error}")
        fewer = "-" if row["fall"] is None else f"{row['fall']:.0%}"
        table.add_row(most, f"{row['before']:.2f} -> {row['after']:.2f}", fewer, *changes)
    return table


def _wrong(rows: dict[str, Any]) -> Table:
    columns = ("events", "wrong", "of these outvoted", "right ones outvoted", "alarms: none, right, wrong marks", "AUC")
    table = Table("kind", "beside", *columns, title="One mark of ten is wrong")
    for beside, by_kind in rows.items():
        for kind, row in by_kind.items():
            counts = [f"{row[name]:.1f}" for name in ("events", "wrong", "named", "right_outvoted")]
            alarms = ", ".join(f"{row[f'shown_{name}']:.2f}" for name in ("before", "right", "wrong"))
            auc = ", ".join(f"{row[f'auc_{name}']:.3f}" for name in ("before", "right", "wrong"))
            table.add_row(safe(kind), "other events" if beside == "mixed" else "-", *counts, alarms, auc)
    return table


def print_feedback(result: dict[str, Any]) -> None:
    """Prints all tables."""
    console = wide()
    console.print(_means(result["mean"]))
    console.print(_kinds(result["harmless"], "Harmless, marked as false alarms", "share with an alarm"))
    console.print(_kinds(result["overlooked"], "Overlooked, marked as anomalous", "recall"))
    for most, by_kind in result["overlooked"].items():
        helpless = [kind for kind, row in by_kind.items() if row["needs_other_heads"] > 1 / 2]
        if helpless:
            console.print(
                f"{most} marks: most draws name hunting again as the next step for {safe(', '.join(helpless))}"
            )
    console.print(_wrong(result["wrong"]))
    for kind, row in result["fleet"].items():
        costs = ", ".join(f"{cost:+.3f}" for cost in row["auc"])
        then = f"; AUC of other kinds on test videos then {costs}" if costs else ""
        console.print(f"{safe(kind)}: reaches the common scorer in {row['accepted']} of {row['draws']} draws{then}")
    for pair, row in result["apart"].items():
        figures = f"AUC {row['marks']:.2f} from marks and calibration segments, {row['told']:.2f} from marks of both"
        console.print(f"{safe(pair)}: told apart with {figures}")
    same = "to the bit" if result["others_equal"] else "NOT"
    console.print(f"The scores of other cameras are {same} the same.")
