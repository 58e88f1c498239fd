"""The command line: `lspipe VERB ...`; the only part that prints.

    arguments    words to a namespace with its verb
    verbs        one function per verb
    models       list, show, check, pack: those of `lspipe model`
    training     `lspipe model train`
    evaluation   `lspipe model evaluate`
    adapting     `lspipe model adapt`
    reviewing    `lspipe review`
    scores       `lspipe evaluate`
    exporting    `lspipe export`, `lspipe report`
    changing     `lspipe change`
    summarizing  `lspipe summarize`
    summaries    facts as text for people
    cards        a model item and its scorecard as text
    transfer     scores across regions, in the layout of paper 003
    progress     what a run is doing, as it happens
    flags        the parameters that a message names, as they are typed
    text         what is printed where

Data goes to stdout, everything else to stderr. Exit codes: 0 done; 1 unforeseen, or a server out of
reach; 2 usage, workflow, locked or foreign run directory; 3 some blocks failed, or a tile could not
be compared; 4 nothing found; 130 interrupted.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lspipe.cli.arguments import parser
from lspipe.cli.flags import as_typed
from lspipe.cli.text import say
from lspipe.errors import LspipeError
from lspipe.machine import ignore_what_others_left

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, UNFORESEEN, INTERRUPTED = 0, 1, 130

COLLECT_AFTER = 50_000
"""Objects after which Python looks for garbage. Imports make a million that all stay: to look for
some among them after every 700, as Python does by default, takes a seventh of the time to start."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    ignore_what_others_left()
    gc.set_threshold(COLLECT_AFTER)
    options = parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    try:
        with _ended_like_ctrl_c():
            code: int = options.verb(options)
            return code
    except KeyboardInterrupt:
        say("interrupted; the same command continues where it stopped")
        return INTERRUPTED
    except LspipeError as error:
        say(f"{type(error).__name__}: {as_typed(str(error))}")
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`lspipe plan W | head`); not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if options.verbose:
            logging.getLogger(__name__).exception("unforeseen")
        say(
            f"unforeseen {type(error).__name__}: {error}\nhint: repeat with --verbose and report it"
        )
        return UNFORESEEN


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """End in order when a batch system or a service manager asks this process to (SIGTERM)."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""Of lspipe's own messages, by how often --verbose is given."""

FORMS = (
    "%(levelname)s: %(message)s",
    "%(asctime)s %(message)s",
    "%(asctime)s %(name)s: %(message)s",
)


def _set_up_logging(verbose: int) -> None:
    """Show warnings; with -v lspipe's own story; with -vv also what libraries say."""
    is_all = verbose >= 2
    logging.basicConfig(format=FORMS[min(verbose, 2)], datefmt="%H:%M:%S")
    logging.getLogger().setLevel(logging.DEBUG if is_all else logging.WARNING)
    logging.getLogger("lspipe").setLevel(LEVELS[min(verbose, 2)])
    if not is_all:
        _quiet_libraries()


def _quiet_libraries() -> None:
    """Keep dask's and the readers' own messages off the screen; lspipe reports what matters.

    Read once, when `distributed` is imported, so it must be set before.
    """
    import dask

    # The loop of a client reports to tornado: a Ctrl-C while it has not yet begun a question to the
    # scheduler makes distributed cancel what is not there (a NameError in its `sync`).
    loggers = ("distributed", "odc.loader", "tornado.application")
    dask.config.set({"logging": dict.fromkeys(loggers, "critical")})
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every try
