import graphlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import InputError
from study import graph as plan
from study import spec
from study.graph import Cell


def study(tmp_path: Path, text: str, *sets: str) -> plan.Study:
    path = tmp_path / "s.toml"
    path.write_text('[study]\nname = "s"\n' + text)
    return spec.read(path, sets)


def test_a_matrix_of_cells_and_what_gathers_them(tmp_path: Path) -> None:
    plan_ = study(
        tmp_path,
        """
        [params]
        seeds = 2
        arms = [{ name = "plain", set = "" }, { name = "tied", set = "--set model.tie_weights=true --set a=1" }]
        [paths]
        text = "some text"
        [[cell]]
        name = "compare"
        run = "judge compare {inputs} --json"
        inputs = ["runs/*/checkpoint.pt"]
        stdout = "compare.json"
        [[cell]]
        name = "run-{arm.name}-{seed}"
        foreach = { arm = "arms", seed = "seeds" }
        run = "pretrain run tiny --data {inputs} --seed {seed} {arm.set} -o 'a b/{seed}' --keep {{}}"
        inputs = ["{text}"]
        outputs = ["runs/{arm.name}-{seed}/checkpoint.pt"]
        """,
    )
    names = [cell.name for cell in plan_.cells]
    assert names == ["run-plain-0", "run-plain-1", "run-tied-0", "run-tied-1", "compare"]
    text = str(tmp_path.resolve() / "some text")
    assert plan_.cells[0].argv == (
        *("pretrain", "run", "tiny", "--data", text, "--seed", "0"),
        *("-o", "a b/0", "--keep", "{}"),
    )
    assert plan_.cells[2].argv[7:11] == ("--set", "model.tie_weights=true", "--set", "a=1")
    checkpoints = tuple(f"runs/{arm}-{seed}/checkpoint.pt" for arm in ("plain", "tied") for seed in (0, 1))
    assert plan_.cells[4].argv == ("judge", "compare", *checkpoints, "--json")
    assert plan_.cells[4].needs == tuple(names[:4])
    assert plan_.cells[4].outputs == ("compare.json",)


def test_set_overrides_parameters_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    [params]
    steps = 10
    [paths]
    data = "d"
    [[cell]]
    name = "c"
    run = "pretrain run {data} --steps {steps}"
    """
    monkeypatch.chdir(tmp_path)
    assert study(tmp_path, text, "steps=5").cells[0].argv[-1] == "5"
    assert study(tmp_path, text, "params.steps=7").cells[0].argv[-1] == "7"
    assert study(tmp_path, text, "data=e").cells[0].argv[2] == str(tmp_path.resolve() / "e")
    with pytest.raises(InputError, match=r"no such parameter. it has: steps, data"):
        study(tmp_path, text, "stepz=5")


def test_a_path_may_be_a_data_set_that_is_no_file(tmp_path: Path) -> None:
    text = """
    [paths]
    source = "world:demo?people=5"
    [[cell]]
    name = "data"
    run = "pretrain data {source} -o data"
    inputs = ["{source}"]
    """
    (cell,) = study(tmp_path, text).cells
    assert cell.argv == ("pretrain", "data", "world:demo?people=5", "-o", "data")
    assert cell.inputs == ()
    (cell,) = study(tmp_path, text, f"source={tmp_path}").cells
    assert cell.inputs == (str(tmp_path.resolve()),)


def test_services_give_their_users_a_port(tmp_path: Path) -> None:
    plan_ = study(
        tmp_path,
        """
        [[service]]
        name = "sim"
        run = "judge simulate --port {port}"
        inputs = ["truth.json"]
        [[cell]]
        name = "score"
        uses = ["sim"]
        run = "judge score x.jsonl --judge m@http://127.0.0.1:{sim.port}/v1"
        [[cell]]
        name = "truth"
        run = "pretrain world w -o truth.json"
        outputs = ["truth.json"]
        """,
    )
    assert [cell.name for cell in plan_.cells] == ["truth", "score"]
    assert plan_.cells[1].argv[-1] == "m@http://127.0.0.1:{sim.port}/v1"
    assert plan_.cells[1].uses[0].argv == ("judge", "simulate", "--port", "{port}")


CELL = '[[cell]]\nname = "{name}"\nrun = "python x.py"\ninputs = {inputs}\noutputs = {outputs}\n'


def cells(*rows: tuple[str, list[str], list[str]]) -> str:
    return "".join(CELL.format(name=name, inputs=inputs, outputs=outputs) for name, inputs, outputs in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no cells"),
        (cells(("a", [], []), ("a", [], [])), "two cells are called 'a'"),
        (cells(("a", [], ["x"]), ("b", [], ["x"])), "cells 'a' and 'b' both write x"),
        (cells(("a", [], ["x"]), ("b", [], ["x/y"])), "'b' writes x/y inside x, the output of cell 'a'"),
        (cells(("a", ["y"], ["x"]), ("b", ["x"], ["y"])), "cells wait for each other: '[ab]' needs '[ab]' needs"),
        (cells(("a", ["x"], ["x"])), "cells wait for each other: 'a' needs 'a'"),
        (cells(("a", [], ["../x"])), "not inside the study's directory"),
        (cells(("a", [], ["/x"])), "not inside the study's directory"),
        (cells(("a", ["r/*.pt"], [])), r"no cell writes anything like r/\*.pt"),
        (cells(("a b", [], [])), "'a b' is no name for a cell"),
        ('[[cell]]\nname = "a"\nrun = "rm -rf x"\n', "cannot run 'rm'. a command starts with pretrain"),
        ('[[cell]]\nname = "a"\nrun = "pretrain {sed}"\n', "nothing is called {sed}"),
        ('[[cell]]\nname = "a"\nrun = "pretrain \'"\n', "No closing quotation"),
        ('[[cell]]\nname = "a"\nruns = "x"\nrun = "python"\n', "unknown key 'cell.0.runs'. did you mean 'run'"),
        ('[[cell]]\nname = "a"\nrun = "python"\nuses = ["s"]\n', "no service is called 's'"),
        ('[[cell]]\nname = "a"\nrun = "python"\nforeach = {s = "t"}\n', "names no parameter 't'"),
        ('[[cell]]\nname = "a"\nrun = "python"\nforeach = {s = []}\n', r"foreach.s is \[\]"),
        ('[[service]]\nname = "s"\nrun = "judge simulate"\n' + cells(("a", [], [])), "does not mention {port}"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        study(tmp_path, text)


@st.composite
def graphs(draw: st.DrawFn) -> list[Cell]:
    """Cells that read outputs of any others, as files or from directories: acyclic or not."""
    count = draw(st.integers(1, 8))
    edges = draw(st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=12))
    return [
        Cell(
            f"c{i}",
            ("python",),
            inputs=tuple(draw(st.sampled_from([f"d{j}", f"d{j}/file"])) for k, j in edges if k == i),
            outputs=(f"d{i}",),
        )
        for i in range(count)
    ]


@given(graphs())
def test_order_puts_every_cell_after_what_it_needs(graph: list[Cell]) -> None:
    maker = plan.check_outputs({cell.name: cell.outputs for cell in graph}, "s")
    linked = plan.link(graph, maker)
    reference = graphlib.TopologicalSorter({cell.name: cell.needs for cell in linked})
    try:
        reference.prepare()
    except graphlib.CycleError:
        with pytest.raises(InputError, match="wait for each other"):
            plan.order(linked, "s")
        return
    ordered = plan.order(linked, "s")
    assert sorted(cell.name for cell in ordered) == sorted(cell.name for cell in graph)
    place = {cell.name: index for index, cell in enumerate(ordered)}
    assert all(place[need] < place[cell.name] for cell in ordered for need in cell.needs)
    chosen = plan.only(ordered, [ordered[-1].name])
    names = {cell.name for cell in chosen}
    assert all(need in names for cell in chosen for need in cell.needs)


def test_unlinked_cells_keep_the_order_of_the_file() -> None:
    ordered = plan.order([Cell("b", ()), Cell("a", (), needs=("c",)), Cell("c", ()), Cell("0", ())], "s")
    assert [cell.name for cell in ordered] == ["b", "c", "a", "0"]


def test_only_names_what_there_is() -> None:
    with pytest.raises(InputError, match=r"no cell is called 'x'. cells: a"):
        plan.only([Cell("a", ())], ["x"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("runs/*/checkpoint.pt", ["runs/a/checkpoint.pt", "runs/b/checkpoint.pt"]),
        ("runs/a*", ["runs/a"]),
        ("*.json", ["x.json"]),
        ("runs/*", ["runs/a", "runs/b"]),
        ("*/*/*/*", []),
    ],
)
def test_patterns_reach_into_outputs_that_are_directories(pattern: str, found: list[str]) -> None:
    assert plan.matching(pattern, {"runs/a": "a", "runs/b": "b", "x.json": "x", "deep/er/still": "d"}) == found
