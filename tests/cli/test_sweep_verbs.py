"""`plan`, `report` and a multirun find the same jobs for the same arguments."""

from advarch.cli.compose import planned_jobs


def test_axes_typed_on_the_command_line_are_the_sweep() -> None:
    axes = "sweep.axes={backbone.depths:[[1,0,0],[1,1,0]]}"
    jobs = planned_jobs(["+sweep=demo", axes])
    assert [job.config["backbone"]["depths"] for job in jobs] == [[1, 0, 0], [1, 1, 0]]
    several = planned_jobs(["+sweep=demo", axes, "seed=0,1"])
    assert [(job.config["backbone"]["depths"][1], job.config["seed"]) for job in several] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]


def test_a_sweeps_own_axes_hold_when_none_are_typed() -> None:
    assert len(planned_jobs(["+sweep=demo"])) == 8
