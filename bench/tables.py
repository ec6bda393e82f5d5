"""Figures and tables in Markdown."""


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(row):
    return f"{number(row['median'])} ±{row['spread']:.0f}%" if row["n"] > 1 else number(row["median"])


def table(heads, rows):
    """Markdown; the first column is text."""
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def share(ratio):
    """Of a summary of ratios; None: there is none."""
    return f"{ratio['median']:.2f} ±{ratio['spread']:.0f}%" if ratio else ""
