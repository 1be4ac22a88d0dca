"""Every fault of the emulator against every verb of the product: the right bytes or the right error, nothing left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_matrix import ROWS, VERBS, Bench, outcome
from fault_outcomes import OUTCOMES, SHORT, expected, page
from hyperexport import Hyperexport

from hypersdk_emulator.faultrules import EFFECTS
from hypersdk_emulator.for_tests import OciEmulator

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {row.name: row for row in ROWS}
CELLS = [(row, verb, turn, word) for (row, verb), words in expected().items() for turn, word in enumerate(words)]
TURNS = ("once", "lasts")


@pytest.mark.parametrize("cell", CELLS, ids=[f"{row}-{verb}-{TURNS[turn]}" for row, verb, turn, _ in CELLS])
def test_cell(
    oci_emulator: OciEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: tuple[str, str, int, str]
) -> None:
    """C013, C016: the outcome is that of the table; no wrong file or object, no open upload, nothing left unnamed."""
    row, verb, turn, word = cell
    bench = Bench(oci_emulator, tmp_path, passing=turn == 0)
    assert outcome(bench, BY_NAME[row], VERBS[verb], monkeypatch.setattr) == word


def test_every_effect_is_tried() -> None:
    """The matrix has a row for each effect that the emulator knows, and an outcome for each row."""
    assert {row.effect for row in ROWS} == set(EFFECTS)
    assert list(OUTCOMES) == [row.name for row in ROWS]
    assert list(SHORT.values()) == list(VERBS)


def test_the_page_is_that_of_the_table() -> None:
    """`docs/fault-outcomes.md` says what is proven here; `python tools/fault_outcomes.py` writes it."""
    assert (ROOT / "docs" / "fault-outcomes.md").read_text() == page()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (("ListObjects", "error", {"status": 503, "code": "ServiceUnavailable"}), 8),
        (("ListObjects", "error", {"status": 401, "code": "NotAuthenticated"}), 4),
        (("ListObjects", "error", {"status": 404, "code": "BucketNotFound"}), 5),
        (("ListObjects", "html", {}), 8),
        (("ListObjects", "html", {"status": 407}), 4),
        (("ListObjects", "error", {"status": 400, "code": "InvalidParameter"}), 1),
        (("CreateImage", "work-request-fails", {}), 1),
        (("ExportImage", "export-all-zero", {}), 7),
        (("CreateImage", "cut-body", {"afterBytes": 10}), 8),
    ],
)
def test_exit_status(
    oci_emulator: OciEmulator, tmp_path: Path, fault: tuple[str, str, Mapping[str, Any]], status: int
) -> None:
    """The command ends with the table's number and one line that says why, under a fault that lasts."""
    operation, effect, fields = fault
    oci_emulator.bucket("exports")
    oci_emulator.instance("web-01")
    times = {} if effect in ("work-request-fails", "export-all-zero") else {"times": "any"}
    oci_emulator.fault(operation, effect, **fields, **times)
    hyper = Hyperexport(oci_emulator, tmp_path)
    environ = {"HYPEREXPORT_OCI_COMPARTMENT_OCID": oci_emulator.compartment_id, "HYPEREXPORT_RETRY_MAX_ATTEMPTS": "2"}
    export = operation != "ListObjects"
    line = ("web-01",) if export else ("ls", "oci://emulated/exports/")
    ended = hyper.export(*line, environ=environ) if export else hyper.run(*line, environ=environ)
    assert ended.code == status, ended.err
    assert [each for each in ended.err.splitlines() if each.startswith("hyperexport: ")], ended.err
    assert list(tmp_path.glob("*.qcow2")) == []
