"""What was imported, as a Document: a line for each run, what it is and what of it has no equivalent."""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.present.document import Block, Column, Columns, Document, Note, Notes, Section, Table, facts, row, table
from analysis.run.summary import RunSummary
from analysis.wording import LABELS, number
from bench.runs.manifest import ImportedFrom, RunManifest


class ImportedFolder(NamedTuple):
    """A run folder that was made of another tool's file."""

    folder: str
    run: RunManifest
    summary: RunSummary


def document(made: Sequence[ImportedFolder]) -> Document:
    """The folders that were made, with the figures by which one knows them again."""
    columns: Columns[ImportedFolder] = (
        (Column("folder", "left"), lambda each: each.folder),
        (Column("of", "left"), lambda each: _title(each.run.imported)),
        (Column("requests"), lambda each: number(each.summary.requests.planned)),
        (Column("ttft p50, ms"), lambda each: number(each.summary.metric("ttft_ms").p50)),
        (Column("tpot p50, ms"), lambda each: number(each.summary.metric("tpot_ms").p50)),
        (Column("output tokens/s"), lambda each: number(each.summary.throughput.output_tokens_per_s)),
        (
            Column("keys without equivalent", drop=1),
            lambda each: number(len(each.run.imported.untranslated) if each.run.imported else None),
        ),
    )
    data = [{"folder": each.folder, "tool": each.run.backend, "verdict": each.summary.verdict.status} for each in made]
    caption = "Not verifiable: the reports say what is missing (bench.py report FOLDER)"
    return Document(title="", blocks=(table(columns, made, caption),), data={"runs": data})


def provenance(imported: ImportedFrom) -> tuple[Block, ...]:
    """Where an imported run is from, how its metrics differ from ours, and what has no equivalent."""
    told = [
        ("Measured by", _title(imported)),
        ("File", f"{imported.file}, result {imported.part} in it"),
        ("SHA-256", imported.sha256),
    ]
    differs = tuple(Note(f"{LABELS.get(name, name)}: {how}.") for name, how in imported.differs.items())
    untranslated = tuple(row(name) for name in imported.untranslated)
    return (
        facts(told),
        Section("How their metrics differ from ours", (Notes(differs),)),
        Section(
            "Keys without an equivalent here",
            (Table((Column("key", "left", wraps=True),), untranslated, "In the file, and not translated"),),
            folded=True,
        ),
    )


def _title(imported: ImportedFrom | None) -> str:
    return "" if imported is None else f"{imported.title} {imported.version or '(version unknown)'}"
