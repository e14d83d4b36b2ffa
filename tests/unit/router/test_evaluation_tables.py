"""Whatever is wrong with the files of an evaluation is named: the file, the line, and what cannot be used."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from outrider.router.evaluation.records import Records, read_records
from outrider.router.evaluation.run import Plan, evaluate
from outrider.router.evaluation.tables import DataUnusable
from tests.unit.router.measured_folder import MODELS, PROMPTS, make_folder

CALLS = "bfcl_latency.csv.gz"
Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(gzip.compress(b"".join(lines)))


def with_line(path: Path, number: int, text: bytes) -> None:
    lines = lines_of(path)
    lines[number - 1] = text + b"\n"
    write(path, lines)


def make_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip_a_byte(path: Path) -> None:
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(bytes(packed))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-200]), r"is not whole: its data end after line \d+"),
        (lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), r"is not gzip data"),
        (flip_a_byte, r"is (damaged|not gzip data|not whole)|line \d+"),
        (lambda p: with_line(p, 9, b"2030-01,model.\xff,simple,1,1,1,1.0,1,0"), r"line 9 is not UTF-8 text"),
        (make_folder_of, r"cannot be read: Is a directory"),
        (lambda p: with_line(p, 7, b"2030-01,m,simple,one,1,1,1.0,1,0"), r"line 7: idx 'one' is not a whole"),
        (lambda p: with_line(p, 5, b"2030-01," + b"m" * 200_000), r"after line 4: field larger than"),
        (lambda p: p.write_bytes(gzip.compress(b"")), r"is empty: it has no header"),
        (lambda p: write(p, [b"run,model\n"]), r"lacks the columns category, idx, latency_s"),
        (lambda p: write(p, lines_of(p)[:1]), r"no usable call"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(folder: Path, damage: Damage, said: str) -> None:
    damage(folder / CALLS)
    with pytest.raises(DataUnusable, match=rf"bfcl_latency.*{said}") as raised:
        read_records(folder)
    assert "Evaluation" in raised.value.hint


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gzip.open", refuse)
    with pytest.raises(DataUnusable, match=r"bfcl_prompts.csv.gz cannot be read: Permission denied"):
        read_records(folder)


def test_rows_that_cannot_be_used_are_counted_once_for_each_file(folder: Path) -> None:
    usual = lines_of(folder / CALLS)
    odd = [b"2030-01,m,simple,1,1,1,%s,1,0\n" % text for text in (b"", b"nan", b"-1", b"inf", b"soon")]
    odd += [b"2030-01,m,strange,1,1,1,2.0,1,0\n", b"2030-01,m\n"]
    write(folder / CALLS, usual + odd)
    with_line(folder / "azure_llm_2023_conv.csv.gz", 4, b"noon,10,10")
    said: list[str] = []
    records = read_records(folder, said.append)
    count = PROMPTS * 3 * (2 * len(MODELS) - 1)
    known = "1 of prompts that bfcl_prompts does not have, 1 with too few columns"
    reasons = f"5 without a positive latency_s, {known}"
    assert said == [
        f"bfcl_latency: 7 of {count + 7:,} rows are not used ({reasons})",
        "azure_llm_2023_conv: 1 of 300 rows are not used (1 without a number as t_s)",
    ]
    assert sum(len(calls) for run in records.runs.values() for calls in run.values()) == count


def test_a_plain_file_with_a_byte_order_mark_and_columns_beyond_the_header_is_read(folder: Path) -> None:
    header, *calls = gzip.decompress((folder / CALLS).read_bytes()).splitlines()
    plain = b"\n".join([header, *(call + b",more" for call in calls)])
    usual = read_records(folder)
    (folder / CALLS).unlink()
    (folder / "bfcl_latency.csv").write_bytes(b"\xef\xbb\xbf" + plain)
    assert read_records(folder).runs == usual.runs


def keep_header(folder: Path, name: str) -> None:
    write(folder / name, lines_of(folder / name)[:1])


def test_an_empty_trace_is_told_and_its_benches_are_left_out(folder: Path) -> None:
    keep_header(folder, "azure_llm_2023_conv.csv.gz")
    said: list[str] = []
    plan = Plan(1, loads=(0.7,), policies=("random",), stress_tasks=40)
    rows = evaluate(folder, plan, said.append)["rows"]
    assert [(r["bench"], r["arrivals"]) for r in rows] == [("R", "code")]
    why = "skipped, azure_llm_2023_conv has no row that can be used"
    assert {f"bench R arrivals conv: {why}", f"bench S: {why}"} <= set(said)


def test_nothing_to_run_is_an_error_that_says_why(folder: Path) -> None:
    (folder / "azure_llm_2023_code.csv.gz").unlink()
    plan = Plan(1, loads=(0.7,), arrivals=("code",), benches=("R",), policies=("random",))
    with pytest.raises(DataUnusable, match="arrivals code: skipped, there is no azure_llm_2023_code file"):
        evaluate(folder, plan)
    keep_header(folder, "llmperf_leaderboard_2023.csv.gz")
    with pytest.raises(DataUnusable, match="bench S: skipped, llmperf_leaderboard_2023 has no row"):
        evaluate(folder, Plan(1, benches=("S",), policies=("random",)))


def test_a_trace_of_one_instant_is_no_trace(folder: Path) -> None:
    write(folder / "azure_llm_2023_code.csv.gz", [b"t_s,context_tokens,generated_tokens\n", b"1,2,3\n" * 2])
    records: Records = read_records(folder)
    assert list(records.traces) == ["conv"]
    assert "one later than the other" in records.lacking["azure_llm_2023_code"]


def test_too_few_prompts_leave_the_other_bench_its_rows(folder: Path) -> None:
    header, *calls = lines_of(folder / CALLS)
    write(folder / CALLS, [header, *(call for call in calls if int(call.split(b",")[3]) < 5)])
    said: list[str] = []
    plan = Plan(1, loads=(0.7,), arrivals=("conv",), policies=("random",), stress_tasks=40)
    assert {r["bench"] for r in evaluate(folder, plan, said.append)["rows"]} == {"S"}
    assert any("bench R" in line and "prompts were put to all" in line for line in said)
    with pytest.raises(DataUnusable, match="prompts were put to all"):
        evaluate(folder, Plan(1, loads=(0.7,), benches=("R",), policies=("random",)))


def test_too_few_endpoints_leave_the_other_bench_its_rows(folder: Path) -> None:
    path = folder / "llmperf_leaderboard_2023.csv.gz"
    write(path, lines_of(path)[:13])
    said: list[str] = []
    plan = Plan(1, loads=(0.7,), arrivals=("conv",), policies=("random",))
    assert [r["bench"] for r in evaluate(folder, plan, said.append)["rows"]] == ["R"]
    assert any("bench S: skipped" in line and "two endpoints" in line for line in said)
