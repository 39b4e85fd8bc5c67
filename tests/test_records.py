"""Records: what is written comes back equal, and what is no record of ours is refused."""

import dataclasses
import json
import math
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advarch import records
from advarch.records import (
    SCHEMA,
    AttackResult,
    EvalRecord,
    Progress,
    RunRecord,
    RunStatus,
    SearchRecord,
    Size,
    StageStatus,
    TrainRecord,
    dump,
    load,
    read,
)
from advarch.runs.folder import Evaluation

FEW = settings(max_examples=60, deadline=None)

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
text = st.text(max_size=12)
states = st.sampled_from(typing.get_args(records.State))
names = st.lists(text, max_size=3).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)

progress = st.builds(Progress, text, counts, counts, text, st.none() | numbers, text)
stage = st.builds(StageStatus, states, st.none() | numbers, st.none() | numbers, counts, text, text)
status = st.builds(RunStatus, st.dictionaries(text, stage, max_size=3), st.none() | progress)
size = st.builds(Size, counts, counts)
attack_result = st.builds(
    AttackResult, text, counts, counts, numbers, numbers, st.none() | numbers, st.none() | numbers, counts, numbers, names, text
)  # fmt: skip
evaluation = st.builds(
    EvalRecord, text, text, text, numbers, st.lists(attack_result, max_size=3).map(tuple), names
)
training = st.builds(TrainRecord, counts, counts, numbers, numbers, numbers, numbers, text)
searched = st.builds(SearchRecord, text, counts, numbers, numbers, text, size, text)
run = st.builds(
    RunRecord,
    name=text,
    folder=text,
    config=st.dictionaries(text, json_values, max_size=3),
    state=states,
    error=text,
    progress=st.none() | progress,
    size=st.none() | size,
    train=st.none() | training,
    evaluations=st.dictionaries(text, evaluation, max_size=2),
    curves=st.lists(st.dictionaries(text, numbers, max_size=3), max_size=2).map(tuple),
    search=st.none() | searched,
    searched=st.lists(st.dictionaries(text, json_values, max_size=3), max_size=2).map(tuple),
)
whole = st.builds(Evaluation, st.dictionaries(text, evaluation, max_size=2))

WITH_SCHEMA = {RunStatus: status, Size: size, EvalRecord: evaluation, TrainRecord: training, SearchRecord: searched, RunRecord: run, Evaluation: whole}  # fmt: skip


def test_every_record_that_carries_a_schema_is_tried() -> None:
    found = {value for value in vars(records).values() if dataclasses.is_dataclass(value)}
    assert {kind for kind in found if "schema" in {f.name for f in dataclasses.fields(kind)}} | {
        Evaluation
    } == set(WITH_SCHEMA)


@given(st.data())
@pytest.mark.parametrize("kind", WITH_SCHEMA, ids=lambda kind: kind.__name__)
@FEW
def test_a_record_comes_back_from_its_json_equal_and_of_the_same_types(kind, data: st.DataObject) -> None:
    record = data.draw(WITH_SCHEMA[kind])
    again = load(kind, dump(record))
    assert again == record
    assert repr(again) == repr(record)
    assert dump(again) == dump(record)


def test_tuples_and_nested_records_come_back_as_such() -> None:
    result = AttackResult("clean", 3, 4, 0.3, 0.95, None, None, 4, 0.5, ("a", "b"))
    again = load(EvalRecord, dump(EvalRecord("best", "digits", "inf", 0.2, (result,))))
    assert isinstance(again.results, tuple) and isinstance(again.results[0], AttackResult)
    assert again.results[0].flags == ("a", "b") and again.results[0].accuracy == 0.75
    assert again.result("clean") == result and again.result("pgd20") is None


def test_json_is_readable_and_in_the_order_of_the_fields() -> None:
    written = dump(Size(3, 5))
    assert (
        written == f'{{\n  "parameters": 3,\n  "macs": 5,\n  "schema": {SCHEMA},\n  "activations": null\n}}\n'
    )


def test_infinite_values_come_back_too() -> None:
    record = TrainRecord(1, 1, math.inf, -math.inf, 0.0, 0.0, "cpu")
    assert load(TrainRecord, dump(record)) == record


def test_a_size_written_before_activations_were_counted_is_read() -> None:
    assert load(Size, json.dumps({"parameters": 3, "macs": 5, "schema": SCHEMA})) == Size(3, 5)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Size(1, 1).macs = 2  # type: ignore[misc]


@pytest.mark.parametrize("schema", [SCHEMA + 1, SCHEMA - 1, None, "1", "missing"])
@pytest.mark.parametrize("kind", [Size, RunStatus])
def test_another_schema_is_refused_by_name(kind, schema) -> None:
    value = json.loads(dump(Size(1, 2) if kind is Size else RunStatus()))
    value["schema"] = schema
    if schema == "missing":
        del value["schema"]
    with pytest.raises(ValueError, match=f"expected {kind.__name__} of schema {SCHEMA}, came .*again"):
        load(kind, json.dumps(value))


@pytest.mark.parametrize("text", ["", "{", "nothing", '{"parameters": 1,'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected Size as JSON, came text that is not JSON"):
        load(Size, text)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"'])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected Size of schema"):
        load(Size, text)


def test_an_unknown_field_is_refused_also_in_a_nested_record() -> None:
    with pytest.raises(
        ValueError, match=r"expected a Size with the fields \['activations', 'macs', 'parameters', 'schema'\]"
    ):
        load(Size, json.dumps({"parameters": 1, "macs": 1, "flops": 2, "schema": SCHEMA}))
    value = json.loads(dump(RunStatus({"train": StageStatus("done")})))
    value["stages"]["train"]["colour"] = "red"
    with pytest.raises(ValueError, match="expected a StageStatus with the fields"):
        load(RunStatus, json.dumps(value))


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a whole Size.*macs"):
        load(Size, json.dumps({"parameters": 1, "schema": SCHEMA}))


def test_reading_no_file_gives_nothing_and_a_file_its_record(tmp_path: Path) -> None:
    path = tmp_path / "size.json"
    assert read(Size, path) is None
    path.write_text(dump(Size(7, 9)))
    assert read(Size, path) == Size(7, 9)
