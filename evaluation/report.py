"""Reports of `evaluate.py` as Markdown: `python -m evaluation.report docs/results/*.json --output docs/RESULTS.md`.

Every table stands under the command that prints it again. `--rename data/mnist=ylecun/mnist data/=path/to/` says how
those commands name datasets that lie elsewhere on other machines. A file `note.md` next to the reports comes below the
heading.
"""

import argparse
import json
import math
import os
import shlex
from pathlib import Path

from evaluation.sections import SECTIONS
from evaluation.sections.buffer import IN_USE
from evaluation.tables import Table, column, make_table, markdown

HEADER = """# Results

Written from reports of `evaluate.py`, not by hand, by

```bash
{command}
```

Every table stands below the command that measures it again (`--limit 4` for a quick look); pictures and a JSON report
land beside `--output`. K is the number of observed positions, ± is a 95 % interval over signals, and all positions and
samples follow from `--seed 0`.
"""


def renamed(text: str, rename: dict[str, str] | None) -> str:
    """A text in which datasets have other names."""
    for old, new in (rename or {}).items():
        text = text.replace(old, new)
    return text


def section_command(report: dict, name: str, rename: dict[str, str] | None = None) -> str:
    """The command that measures one section of a report again."""
    output = f"runs/{Path(report['file']).stem}.json"
    words = ["evaluate.py", *report["sections"][name]["flags"], "--sections", name, "--output", output]
    return renamed(f"python {shlex.join(words)}", rename)


def section_markdown(section: dict, folder: str = "") -> str:
    """A section's text, pictures and tables."""
    parts = [section["text"]]
    parts += [f"![{caption}]({folder}{name})\n\n*{caption}.*" for name, caption in section["figures"]]
    parts += [markdown(table) for table in section["tables"]]
    return "\n\n".join(parts)


def report_markdown(report: dict, folder: str = "", rename: dict[str, str] | None = None) -> str:
    """A report: facts, curves, then a section after the other, each under its command."""
    seconds = sum(section["cpu_seconds"] for section in report["sections"].values())
    parts = [
        f"## {report['checkpoint']}",
        f"Weights {report['weights'][:12]}, {report['parameters']:,} parameters; measured in {seconds / 60:.1f} "
        f"minutes of CPU time on {report['machine']}.",
    ]
    if report.get("curves"):
        parts.append(f"![Curves of the tables below]({folder}{report['curves']})")
    for name, section in report["sections"].items():
        command = section_command(report, name, rename)
        parts += [
            f"### {SECTIONS[name].title}: {report['name']}",
            f"```bash\n{command}\n```",
            renamed(section_markdown(section, folder), rename),
        ]
    return "\n\n".join(parts)


def summary(reports: list[dict]) -> Table:
    """What is asked of every checkpoint: how far calibration may miss, and what the buffer may cost."""
    rows = []
    for report in reports:
        tables = {name: section["tables"] for name, section in report["sections"].items()}
        misses = column(tables["likelihood"][1], "largest miss (points)") if "likelihood" in tables else []
        costs = {
            name: [cell[0] for cell in column(tables["buffer"][0], f"cost of {name}")] if "buffer" in tables else []
            for name in (IN_USE, "all")
        }
        unit = 1.0 if report["quantised"] else math.log(2)  # nats as bits
        found = [(max(misses, default=None), report.get("calibrated_within", 5.0))]
        found += [(max(cost) / unit if cost else None, 0.02) for cost in costs.values()]
        cells: list = [report["name"]]
        for value, wanted in found:
            verdict = "" if value is None else " (held)" if value <= wanted else " (missed)"
            cells += [value, f"{wanted:g}{verdict}"]
        rows.append(cells)
    titles = ["checkpoint", "largest miss of calibration (points)", "miss at most"]
    titles += ["cost of the largest buffer that sampling has (bits per dimension)", "cost at most"]
    titles += ["cost of all as buffer (bits per dimension)", "such a cost at most"]
    return make_table(dict(zip(titles, (0, 1, 0, 4, 0, 4, 0), strict=True)), rows)


def results(
    reports: list[dict], command: str, folder: str, rename: dict[str, str] | None = None, note: str = ""
) -> str:
    """The whole document."""
    parts = [HEADER.format(command=command), *[note] * bool(note), "## Summary", markdown(summary(reports))]
    parts += [report_markdown(report, folder, rename) for report in reports]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path, help="JSON reports of evaluate.py")
    parser.add_argument("--output", type=Path, default=Path("docs/RESULTS.md"), help="(default: %(default)s)")
    parser.add_argument("--rename", nargs="*", default=[], metavar="OLD=NEW", help="names of datasets in commands")
    arguments = parser.parse_args()
    rename = dict(pair.split("=", 1) for pair in arguments.rename if "=" in pair)
    if len(rename) != len(arguments.rename):
        parser.error(f"--rename: expected pairs OLD=NEW, got {' '.join(arguments.rename)}")
    reports = []
    for path in arguments.reports:
        try:
            reports.append({**json.loads(path.read_text()), "file": str(path)})
        except (OSError, ValueError) as error:
            parser.error(f"reports: expected JSON of evaluate.py, got {path}: {error}")
    folder = os.path.relpath(arguments.reports[0].parent, arguments.output.parent)
    command = f"python -m evaluation.report {arguments.reports[0].parent}/*.json --output {arguments.output}"
    command += f" --rename {' '.join(arguments.rename)}" if rename else ""
    note = arguments.reports[0].with_name("note.md")
    note = note.read_text() if note.exists() else ""
    arguments.output.write_text(results(reports, command, "" if folder == "." else f"{folder}/", rename, note))


if __name__ == "__main__":
    main()
