"""What a worker keeps of what it was told."""

from __future__ import annotations

from zdd_sdk.fleet import WorkerRow
from zdd_sdk.fleet.calls import PulseReply
from zdd_sdk.fleet.core import Roster


def news(epoch, generation, alive, rows=None, upto=None):
    rows = alive if rows is None else rows
    made = {worker: WorkerRow(worker) for worker in rows}
    return PulseReply(0, False, epoch, 0, generation, upto or generation, frozenset(alive), made)


def ids(roster):
    return "".join(row.worker for row in roster.workers())


def test_changes_are_merged_and_the_departed_dropped():
    roster = Roster().applied(news("e", 3, "abc"))
    assert ids(roster) == "abc"
    roster = roster.applied(news("e", 5, "acd", rows="d"))
    assert (ids(roster), roster.generation) == ("acd", 5)


def test_nothing_new_changes_nothing():
    roster = Roster().applied(news("e", 3, "abc"))
    assert roster.applied(PulseReply(0, False)) is roster


def test_pages_add_up():
    roster = Roster().applied(news("e", 9, "abcd", rows="ab", upto=4))
    assert (ids(roster), roster.generation) == ("ab", 4)
    assert ids(roster.applied(news("e", 9, "abcd", rows="cd"))) == "abcd"


def test_a_new_epoch_reports_nobody_gone_until_settled():
    roster = Roster().applied(news("e", 3, "abc")).applied(news("f", 1, ""))
    assert ids(roster) == "abc"
    roster = roster.applied(news("f", 2, "b"))
    assert ids(roster) == "abc"
    roster = roster.applied(news("g", 1, "d"))
    assert ids(roster) == "abcd"
    assert ids(roster.settled()) == "d"


def test_a_registry_that_lost_writes_reports_nobody_gone_either():
    roster = Roster().applied(news("e", 9, "abc"))
    assert roster.rolled_back(news("e", 8, "a"))
    assert ids(roster.applied(news("e", 8, "a"))) == "abc"
    assert not roster.rolled_back(news("e", 9, "a"))
    assert not roster.rolled_back(news("f", 1, "a"))
