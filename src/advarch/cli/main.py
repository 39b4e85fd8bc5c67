"""The command `advarch`: the first word is a verb (`run` when left out), the rest are Hydra overrides."""

import errno
import importlib
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

VERBS = {
    "run": "one experiment; with -m a multirun (the verb may be left out)",
    "plan": "what would run: jobs, parameters, multiply-adds, state, estimated cost",
    "attack": "evaluate a network of your own, or the transfer between runs: model=FILE.py:FACTORY weights=FILE",
    "report": "table, figures and HTML page of a sweep's runs; --all: one page for a whole folder",
    "status": "where the runs in a folder stand; watch=true keeps looking",
    "cancel": "take what was submitted to Slurm out of its queue; what runs saves first",
    "retry": "submit again what failed, with other settings if need be: retry failed time=48:00:00",
    "sync": "send to W&B what was recorded offline; dry_run=true lists it",
    "doctor": "what this machine can do: devices, datasets found, SLURM, W&B login",
    "bench": "how fast this machine trains, attacks and searches, beside other public code",
}

OUTSIDE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of files that are the place's and not ours."""

CONFIG = "[--config-dir DIR] [--trust PACKAGE] [GROUP=CHOICE] [KEY=VALUE] ..."

TAKES = {
    "plan": f"[+sweep=NAME] [sizes=false] [gpu=h100] {CONFIG}",
    "attack": f"model=FILE.py:FACTORY [weights=FILE] [images=FOLDER_OR_NPZ threat.eps=EPS] [name=NAME] [check=binarization] {CONFIG}\n"
    f"advarch attack source=[RUN,...] [target=[RUN,...]] {CONFIG}",
    "report": f"+sweep=NAME [wandb=true [dry_run=true]] {CONFIG}\nadvarch report --all [outputs=FOLDER]",
    "status": "[FOLDER] [watch=true]",
    "cancel": "[FOLDER]",
    "retry": "failed|interrupted [FOLDER] [SETTING=VALUE] ...",
    "sync": "[FOLDER] [dry_run=true]",
    "doctor": "",
    "bench": "[device=cpu|cuda] [rows=training,attacks,...] [quick=true] [out=FOLDER]",
}
"""What each verb but `run`, whose help is that of the command, takes."""

EXAMPLES = """\
  advarch dataset=digits backbone.depths=[1,1,1] backbone.widths=[1,1,1] trainer.max_epochs=5
  advarch -m +sweep=demo                     every point of a sweep, here
  advarch plan +sweep=demo                   the same, only listed
  advarch report +sweep=demo                 table, figure and page of its runs
  advarch report --all                       one page for all that lies in outputs, and a page for each run
  advarch report +sweep=demo wandb=true      the same as a report and a workspace of W&B
  advarch sync outputs                       send the runs of logger=wandb that were recorded offline
  advarch attack model=my.py:net weights=w.pt dataset=cifar10 evaluation=robustwrn
  advarch attack model=my.py:net weights=w.pt images=PICTURES threat.eps=8/255
  advarch attack evaluation=transfer source=[outputs/single/A,outputs/single/B]
  advarch -m +sweep=demo hydra/launcher=slurm       the same as an array of a Slurm cluster; dry_run=true shows the script
  advarch bench rows=training,attacks        this machine's speed, a few minutes; all rows 20 or 30
  advarch status outputs                     where the runs in a folder stand
  advarch defense=trades defense.beta=1 threat.eps=8/255 dataset=image_folder dataset.root=PATH
  advarch --trust mine --config-dir conf backbone=my_net      conf/backbone/my_net.yaml names mine.MyNet of mine.py, here
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. Exit codes: 0 done, 1 something failed, 2 bad input, 130 Ctrl-C, 79 told to stop otherwise."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if arguments[0] == "--version":
        from advarch import __version__

        print(__version__)
        return 0
    try:
        arguments = _trusting(arguments) or ["run"]
    except ValueError as error:
        return _bad_input(str(error))
    verb = arguments.pop(0) if arguments[0] in VERBS else _implied(arguments)
    if verb != "run" and {"-h", "--help"} & set(arguments):
        print(verb_help(verb))
        return 0
    if verb == "run" and "=" not in arguments[:1] and _is_unknown_verb(arguments):
        from advarch.runs.binding import nearest

        return _bad_input(f"{arguments[0]}: unknown verb; {nearest(arguments[0], VERBS)}")
    return _guarded(verb, arguments)


def _trusting(arguments: list[str]) -> list[str]:
    """What is left when `--trust PACKAGE` is taken out, wherever it stands, and done."""
    if not any(argument.partition("=")[0] == "--trust" for argument in arguments):
        return arguments
    from advarch.runs.trust import trust

    rest, waiting = [], iter(arguments)
    for argument in waiting:
        flag, equals, package = argument.partition("=")
        if flag == "--trust":
            trust([package if equals else next(waiting, "")])
        else:
            rest.append(argument)
    # A job finds modules in the folder it is started in (python -m); so does the check before it.
    sys.path.insert(0, str(Path.cwd()))
    return rest


def _implied(arguments: Sequence[str]) -> str:
    """The verb left out: `evaluation=transfer source=[A,B]` trains nothing."""
    words = [argument.partition("=")[0] for argument in arguments]
    return "attack" if "source" in words and not {"-m", "--multirun"} & set(words) else "run"


def help_text() -> str:
    """Verbs, groups with their choices, and sweeps, read from the folders of conf/ and sweeps/: nothing is imported."""
    conf, sweeps = _data_root("conf"), _data_root("sweeps")
    lines = [f"advarch [VERB] {CONFIG}", "", "Verbs"]
    lines += [f"  {verb:<8} {what}" for verb, what in VERBS.items()]
    lines += ["", "Groups"]
    for group in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "hydra"):
        lines += _folded(group.name, choices(group))
    lines += _folded("hydra/launcher", choices(conf / "hydra" / "launcher"))
    lines += ["", "Sweeps", *_folded("", [name for name in choices(sweeps) if name != "none"])]
    lines += ["", "Examples", EXAMPLES.rstrip()]
    lines += ["", "Any key of a composed config can be overridden; see it whole with: advarch --cfg job"]
    return "\n".join(lines)


def _folded(name: str, words: list[str]) -> list[str]:
    """A name and its words beside it, in lines of at most 100 columns."""
    head = f"  {name:<15}" if name else "  "
    return textwrap.wrap(
        ", ".join(words),
        100,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )


def verb_help(verb: str) -> str:
    """What a verb is for, what it takes, and the examples that use it; nothing is imported."""
    examples = [line for line in EXAMPLES.splitlines() if line.split()[1] == verb]
    lines = [f"advarch {verb} {TAKES[verb]}", "", f"  {VERBS[verb]}"]
    lines += ["", "Examples", *examples] if examples else []
    return "\n".join([*lines, "", "Verbs, groups and their choices: advarch --help"])


def _guarded(verb: str, arguments: list[str]) -> int:
    from advarch.errors import InputError, Interrupted
    from advarch.launch.signals import exit_code

    try:
        module = importlib.import_module(f"advarch.cli.{verb}")
        return int(getattr(module, verb)(arguments))
    except InputError as error:
        return _bad_input(str(error))
    except (KeyboardInterrupt, Interrupted) as told:
        print(
            "\nadvarch: stopped; what was saved stays, the same command goes on from there", file=sys.stderr
        )
        return exit_code(getattr(told, "number", signal.SIGINT))
    except Exception as error:
        from advarch.cli.explain import EXPLAINED, explain

        if isinstance(error, OSError) and error.errno in OUTSIDE:
            where = os.fspath(error.filename) if error.filename else "outputs"
            return _bad_input(
                f"{where}: expected a place to read and write, came {error.strerror}; make room or choose another"
            )
        if not isinstance(error, EXPLAINED) and not _raised_by_hydra(error):
            raise
        return _bad_input(explain(error, arguments))


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether it comes out of Hydra's or OmegaConf's own code, which reads nothing but what the user typed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in (
        "hydra",
        "omegaconf",
    )


def _bad_input(message: str) -> int:
    print(f"advarch: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _is_unknown_verb(arguments: list[str]) -> bool:
    return bool(arguments) and arguments[0].isalpha()


def _data_root(name: str) -> Path:
    # The same rule as runs.config.data_root, which would import OmegaConf.
    package = Path(__file__).parents[1]
    return package / name if (package / name).is_dir() else package.parents[1] / name


def choices(folder: Path) -> list[str]:
    """The choices of a group that lie in a folder, those in folders below it with their path: robustwrn/fig1b."""
    files = sorted(path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return [str(path) for path in files if not path.name.startswith("_")]


if __name__ == "__main__":
    sys.exit(main())
