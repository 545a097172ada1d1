"""The attacks and races must catch sessions without the guarantees: each is played on `careless` and fails there."""

from __future__ import annotations

from functools import partial

import pytest

from tests.guarantees import test_answers as answers
from tests.guarantees import test_ids as ids
from tests.guarantees import test_outages as outages
from tests.guarantees import test_races as races
from tests.guarantees.play import Play

ATTACKS = [
    races.test_two_requests_that_change_different_fields_both_count,
    races.test_a_slow_request_that_only_reads_overwrites_nothing,
    races.test_changes_inside_values_are_noticed_and_both_count,
    races.test_compare_and_set_is_a_typed_conflict_and_saves_nothing,
    races.test_a_slow_request_does_not_undo_a_logout,
    races.test_a_slow_reader_does_not_undo_a_logout,
    races.test_logged_out_everywhere_stays_so,
    partial(ids.test_an_unknown_id_is_never_adopted, presented="attackerchosen"),
    ids.test_a_planted_id_sees_nothing_of_the_login,
    ids.test_a_request_under_way_at_the_login_leaves_the_new_cookie_alone,
    ids.test_a_new_id_after_a_change_of_privilege_leaves_the_old_one_behind,
    ids.test_ids_are_stored_hashed,
    ids.test_the_cookie_is_safe,
    ids.test_every_cookie_of_our_name_is_tried,
    ids.test_a_cross_site_post_without_our_cookie_sets_none,
    partial(outages.test_redis_away_is_503_where_the_session_is_needed_and_logs_nobody_out, fault="refuse"),
    outages.test_redis_killed_and_started_again_empty_takes_no_cookie_until_there_is_something_to_save,
    outages.test_changes_that_redis_did_not_keep_leave_the_answer_and_a_login_does_not,
    answers.test_it_is_saved_before_the_answers_head_leaves,
    partial(answers.test_a_5xx_saves_nothing_and_a_4xx_saves, status=500, kept=False),
    answers.test_a_5xx_that_begins_a_session_sets_no_cookie,
    answers.test_what_read_the_session_varies_and_what_sets_the_cookie_is_not_stored,
    partial(answers.test_what_is_too_large_is_a_typed_error_and_saves_nothing, fields=1, size=70_000),
    answers.test_trips,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: getattr(attack, "func", attack).__name__)
def test_careless_sessions_do_not_withstand_it(careless: Play, attack) -> None:
    with pytest.raises((AssertionError, ValueError)):
        attack(careless)


def test_what_the_control_can_do(careless: Play) -> None:
    """It is a session: it fails at the attacks and not at everything."""
    browser = careless.browser(a="1")
    browser.post("login", user="ada")
    browser.post("put", name="b", value="2")
    assert browser.state == ("ada", {"a": "1", "b": "2"})
    browser.post("logout")
    assert browser.state == (None, {})
