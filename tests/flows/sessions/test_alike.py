"""Sessions in Redis and in memory, given the same wishes in the same order, answer alike: each is the other's model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.flows.sessions.visitor import Visitor, logout, make_sessions, state, writing
from zdd_sdk.errors import ZddError

BROWSERS = 3
USERS = ("ada", "bob")
browsers = st.integers(0, BROWSERS - 1)


async def rotate(session):
    session.rotate()


async def devices(session):
    return len(await session.devices())


async def others(session):
    return await session.logout_everywhere()


async def all_of_them(session):
    return await session.logout_everywhere(keep=False)


async def oldest(session):
    listed = sorted(await session.devices(), key=lambda device: (device.label, device.current, device.created))
    return bool(listed) and await session.logout_device(listed[0].handle)


def labelled(user, label):
    async def handler(session):
        session.login(user, label=str(label))

    return handler


HANDLERS = (state, rotate, devices, others, all_of_them, oldest, logout, writing(a=1), writing(b=2))


class Twins(RuleBasedStateMachine):
    """The same browsers at two shops; one keeps its sessions in Redis, the other in memory."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow
        self.labels = 0
        self.shops = [make_sessions(rotate_every=60.0, stock=stock, login_grace=120.0) for stock in (False, True)]
        for sessions in self.shops:
            sessions._can_rotate = lambda: True
        self.browsers = [[Visitor(sessions, flow.store) for sessions in self.shops] for _ in range(BROWSERS)]
        self.under_way = []
        self.flow(self.clean())

    async def clean(self):
        for user in USERS:
            await self.shops[0].directory.logout_everywhere(self.flow.store, user)

    def both(self, browser, handler):
        seen = [self.flow(visitor.visit(handler)) for visitor in self.browsers[browser]]
        assert len({(reply.status, repr(reply.result), type(reply.error), bool(reply.cookie)) for reply in seen}) == 1

    @rule(browser=browsers, handler=st.sampled_from(HANDLERS))
    def visit(self, browser, handler):
        self.both(browser, handler)

    @rule(browser=browsers, user=st.sampled_from(USERS))
    def log_in(self, browser, user):
        self.labels += 1
        self.both(browser, labelled(user, self.labels))

    @rule(every=st.sampled_from([0, 60_000]))
    def let_ids_grow_old(self, every):
        """With 0 every id is old enough at once."""
        self.shops[0].keeper._calls._rotate_every = every
        self.shops[1].keeper.shelf._settings = self.settings_with(every / 1000)

    def settings_with(self, every):
        shelf = self.shops[1].keeper.shelf
        return type(shelf._settings)(rotate_every=every, login_grace=120.0)

    @rule(browser=browsers, handler=st.sampled_from((writing(late=1), rotate, labelled("ada", "late"))))
    def begin(self, browser, handler):
        if len(self.under_way) < 2:
            pair = []
            for visitor in self.browsers[browser]:
                exchange = visitor.exchange()
                try:
                    session = self.flow(visitor.sessions.load(exchange))
                    self.flow(handler(session))
                except ZddError as error:
                    pair.append((visitor, None, type(error)))
                else:
                    pair.append((visitor, exchange, None))
            assert len({error for _, _, error in pair}) == 1
            if pair[0][1] is not None:
                self.under_way.append(pair)

    @rule()
    def end(self):
        if self.under_way:
            replies = []
            for visitor, exchange, _ in self.under_way.pop(0):
                reply = self.flow(visitor.depart(exchange))
                visitor.receive(reply)
                replies.append(reply)
            assert len({(reply.status, bool(reply.cookie)) for reply in replies}) == 1

    @invariant()
    def what_is_listed_is_alike(self):
        for user in USERS:
            lists = [self.flow(shop.directory.devices(self.flow.store, user)) for shop in self.shops]
            assert len({tuple(sorted(device.label for device in listed)) for listed in lists}) == 1
        assert len({(shop.counters["gone"], shop.counters["rotations"]) for shop in self.shops}) == 1


@pytest.mark.parametrize("engine", ["real"], indirect=True)
def test_redis_and_memory_answer_alike(flow):
    run_state_machine_as_test(
        lambda: Twins(flow),
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
