"""An experiment that is exported and imported is the same; what is no export is refused."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_bench import finished, json_of, on_both, schedd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import EITHER, place, url, urls
from simulation.bench import definition

from scheduler.model.experiment import Ask, Changes, Event, ExperimentState, Tally, Verdict
from scheduler.model.observation import GeneratorRun, Observation
from scheduler.model.trial import Arm, Trial, TrialStatus, Wish
from scheduler.storage.store import Store
from scheduler.storage.transfer import NotAnExport, lines, restore

__all__ = ["finished", "json_of", "on_both", "schedd", "url", "urls"]

T = TrialStatus
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TIME = st.none() | st.floats(0, 4e9)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
MORE = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def trials(draw, index):
    parameters = draw(st.dictionaries(TEXT, NUMBER | TEXT | st.booleans() | st.integers()))
    wish = Wish(T.CANDIDATE, "TIMEOUT", draw(TEXT), draw(st.booleans()))
    return Trial(
        index,
        tuple(
            Arm(f"{index}_{k}", parameters, draw(NUMBER))
            for k in range(draw(st.just(1) | st.just(2)))
        ),
        draw(st.sampled_from(T)),
        generator_run=draw(st.none() | st.just(0)),
        attempt=draw(st.integers(1, 9)),
        job_id=draw(st.none() | TEXT),
        reason=draw(st.none() | st.just("OOM")),
        message=draw(TEXT),
        wish=draw(st.none() | st.just(wish)),
        released=draw(st.booleans()),
        avoid=tuple(draw(st.lists(TEXT, max_size=2))),
        retries=draw(st.dictionaries(st.just("oom") | st.just("infra"), st.integers(0, 9))),
        started_at=draw(TIME),
        staged_at=draw(TIME),
    )


@st.composite
def histories(draw):
    made = tuple(draw(trials(index)) for index in range(draw(st.integers(0, 4))))
    arms = [(t.index, a.name) for t in made for a in t.arms]
    run = GeneratorRun(
        0,
        0,
        "sobol",
        draw(st.integers(0, 2**32)),
        predictions=({"m": {"mean": draw(NUMBER)}},),
        note=draw(TEXT),
    )
    return Changes(
        trials=made,
        generator_runs=(run,),
        observations=tuple(
            Observation(i, 1, a, "loss", draw(NUMBER), draw(st.none() | NUMBER)) for i, a in arms
        ),
        curves=tuple(Observation(i, 1, a, "loss", draw(NUMBER), None, 1.0) for i, a in arms),
        events=tuple(Event(draw(NUMBER), "note", draw(TEXT), None, None) for _ in range(3)),
        stop=draw(st.none() | st.just(Verdict("goal", "reached"))),
        paused=draw(st.none() | st.booleans()),
    )


def stored(store, changes, name="e"):
    made = definition(name=name, status_quo=None)
    assert store.create(made, Path("/t"), 5.0)
    experiment = store.find(name)
    lease = store.acquire(experiment, 5.0)
    before = ExperimentState(made, tally=Tally(), seconds=12.5)
    store.commit(lease, before, changes, "clock")
    lease.release()
    store.command(experiment.id, Ask("set", None, "why", {"trials.ttl": "1h"}), 6.0)
    return experiment


@pytest.mark.parametrize("kind", EITHER)
@given(changes=histories())
@MORE
def test_a_round_trip_is_exact(kind, changes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    with place(kind, folder, "a") as first, place(kind, folder, "b") as second:
        goes_round(folder, changes, first, second)


def goes_round(folder, changes, *urls):
    here, there = (Store.open(url, create=True) for url in urls)
    experiment = stored(here, changes)
    there.create(definition(name="other"), folder, 1.0)
    written = [json.loads(json.dumps(line)) for line in lines(here, experiment)]
    assert restore(there, written) == "e"
    again = there.find("e")
    assert replace(again, id=0) == replace(experiment, id=0, status=again.status)
    assert there.peek(again) == here.peek(here.find("e"))
    assert list(lines(there, again)) == list(lines(here, experiment))
    tables = ("trial", "arm", "observation", "curve", "generator_run")
    for table in tables:
        columns = f"SELECT * FROM {table} ORDER BY 1, 2, 3"
        rows = []
        for store, found in ((here, experiment), (there, again)):
            with store.reading() as connection:
                got = connection.exec_driver_sql(columns).mappings().all()
            rows.append([{**r, "experiment_id": 0} for r in got if r["experiment_id"] == found.id])
        assert rows[0] == rows[1]
    assert restore(there, written) is None
    here.close()
    there.close()


def test_it_goes_between_databases_and_is_driven_there(url, finished, tmp_path):
    here = Store.open(f"sqlite:///{finished}/schedd.db")
    there = Store.open(url, create=True)
    assert restore(there, lines(here, here.find("small"))) == "small"
    again = there.find("small")
    assert there.peek(again) == here.peek(here.find("small"))
    there.acquire(again, 1.0).release()
    assert list(lines(there, again))[1:-3] == list(lines(here, here.find("small")))[1:-3]
    here.close()
    there.close()


def broken(found):
    trial = next(i for i, line in enumerate(found) if line["row"] == "trial")
    yield "no header", found[1:], "no export of schedd"
    yield "later", [{**found[0], "schema": 99}, *found[1:]], "later schedd"
    yield "cut", found[:-1], "cut short"
    yield "a line less", [*found[:trial], *found[trial + 1 :]], "cut short"
    yield "no arm", [x for x in found if x["row"] != "arm"], "cut short"
    for column, value in {"index": "1", "message": None, "created_at": True, "x": 1}.items():
        bad = {**found[trial], column: value}
        yield column, [*found[:trial], bad, *found[trial + 1 :]], ""
    yield "kind", [*found[:trial], {"row": "schema_info"}, *found[trial:]], "nothing of kind"
    yield "name", [found[0], {**found[1], "name": "else"}, *found[2:]], "defined as"


def test_what_is_no_whole_export_leaves_nothing(finished, urls):
    here = Store.open(f"sqlite:///{finished}/schedd.db")
    there = Store.open(urls("b"), create=True)
    found = list(lines(here, here.find("small")))
    for case, given_lines, words in broken(found):
        with pytest.raises(NotAnExport) as caught:
            restore(there, given_lines)
        assert words in str(caught.value), case
        assert there.names() == [], case
    here.close()
    there.close()


def test_export_and_import_through_files(schedd, json_of, on_both, urls, tmp_path):
    file, target = tmp_path / "small.jsonl", urls("b")
    assert schedd("export", "small", "-o", str(file))[0] == 0
    assert schedd("export")[1] == file.read_text()
    assert "exists already" in schedd("export", "-o", str(file))[2]
    status, out, _ = schedd("import", str(file), "--storage", target)
    assert (status, "small is stored in" in out) == (0, True)
    for verb in ("trials", "events", "status"):
        assert json_of(verb, "small", "--storage", target) == json_of(verb, "small")
    status, _, err = schedd("import", str(file), "--storage", target)
    assert (status, "holds an experiment of this name already" in err) == (2, True)
    (tmp_path / "bad").write_text('{"row": "schedd-export"\n')
    assert f"{tmp_path}/bad:1: it is no JSON object" in schedd("import", f"{tmp_path}/bad")[2]


def test_csv_is_a_table_of_arms(schedd, json_of, on_both):
    status, out, err = schedd("export", "--format", "csv")
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    trials = json_of("trials")
    assert [row["arm"] for row in rows] == [a["name"] for t in trials for a in t["arms"]]
    assert [row["status"] for row in rows] == [t["status"] for t in trials]
    done = trials[0]["arms"][0]
    assert float(rows[0]["x"]) == done["parameters"]["x"]
    assert float(rows[0]["loss"]) == done["metrics"]["loss"]["mean"]
