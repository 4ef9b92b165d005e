"""Reports of `evaluate.py` as Markdown: `python -m evaluation.report docs/results/*.json --output docs/RESULTS.md`.

Every table stands under the command that prints it again. `--rename data/mnist=ylecun/mnist data/=path/to/` says how
those commands name datasets that lie elsewhere on other machines.
"""

import argparse
import json
import os
import shlex
from pathlib import Path

from evaluation.tables import Table, column, markdown

HEADER = """# Results

Written by `{command}` from the reports of `evaluate.py` in that folder; not edited by hand. Every table stands below
the command that measures it again (`--limit 4` for a quick look); pictures and a JSON report land beside `--output`.
K is the number of observed places, ± is a 95 % interval over signals, all places and samples follow from `--seed 0`.
"""

NAMES = {
    "likelihood": "Likelihood and calibration",
    "joint": "Joint likelihood",
    "samples": "Samples",
    "references": "References",
    "buffer": "The buffer",
    "generalisation": "Beyond training",
    "quality": "Completed signals",
}


def section_command(report: dict, name: str, rename: dict[str, str] | None = None) -> str:
    """The command that measures one section of a report again."""
    flags = report["sections"][name]["flags"]
    output = f"runs/{Path(report['file']).stem}.json"
    command = shlex.join(["evaluate.py", *flags, "--sections", name, "--output", output])
    for old, new in (rename or {}).items():
        command = command.replace(old, new)
    return f"python {command}"


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
        parts += [f"### {NAMES[name]}: {report['name']}", f"```bash\n{command}\n```", section_markdown(section, folder)]
    return "\n\n".join(parts)


def summary(reports: list[dict]) -> Table | None:
    """What was asked of every checkpoint: the largest miss of calibration and the largest cost of the buffer."""
    rows = []
    for report in reports:
        sections = report["sections"]
        misses, costs = [], []
        if "likelihood" in sections:
            misses = column(sections["likelihood"]["tables"][1], "largest miss (points)")
        if "buffer" in sections:
            costs = [cell[0] for cell in column(sections["buffer"]["tables"][0], "cost of all")]
        wanted = 3 if report["kind"] == "polynomial" else 5
        unit = "bits per dimension" if report["quantised"] else "nats"
        miss = max(misses, default=None)
        rows.append(
            [
                report["name"],
                miss,
                f"{wanted}" + ("" if miss is None else " (held)" if miss <= wanted else " (missed)"),
                max(costs, default=None),
                unit,
            ]
        )
    if not rows:
        return None
    titles = ["checkpoint", "largest miss of calibration (points)", "asked for", "largest cost of the buffer", "in"]
    table_columns = dict(zip(titles, (0, 1, 0, 4, 0), strict=True))
    return {"title": "", "columns": [list(item) for item in table_columns.items()], "rows": rows, "plot": None}


def results(reports: list[dict], command: str, folder: str, rename: dict[str, str] | None = None) -> str:
    """The whole document."""
    parts = [HEADER.format(command=command)]
    table = summary(reports)
    if table is not None:
        parts.append("## Summary\n\n" + markdown(table))
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
    arguments.output.write_text(results(reports, command, "" if folder == "." else f"{folder}/", rename))


if __name__ == "__main__":
    main()
