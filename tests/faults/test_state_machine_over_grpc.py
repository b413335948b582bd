"""The state machine once more, in fewer examples: a real server, real time, and the ledger of acks as the dict."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, get, settle
from tests.faults.load import Caller, Load, candidates
from tests.faults.support import WHOLE, rounds
from tests.support import Server, eventually, record, write_records

EXAMPLES = rounds(2, 20)
STEPS = 15


class ServerMachine(RuleBasedStateMachine):
    """One server in a process of its own."""

    @initialize(seed=st.integers(0, 1_000), count=st.integers(1, 30))
    def begin(self, seed: int, count: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="avocet-"))
        self.server, self.acks = Server(self.directory), Acks(seed)
        write_records(self.server.candidates, made := candidates(count))
        self.acks.add(made)
        self.start()
        self.server.set_runs_directory()

    def teardown(self) -> None:
        if hasattr(self, "server"):
            try:
                check(self.acks, self.server, asked=1_000)
                assert self.server.stop() == 0
                files_agree(self.acks, self.server.data, within=0)
            finally:
                self.caller.close()
                self.server.kill()
                shutil.rmtree(self.directory)

    def start(self) -> None:
        self.server.start()
        self.caller = Caller(self.acks, self.server.address)

    @rule(seed=st.integers(0, 1_000), times=st.integers(1, 20))
    def decide(self, seed: int, times: int) -> None:
        dice = random.Random(seed)
        for _ in range(times):
            assert self.caller.act(dice)

    @rule(count=st.integers(1, 20))
    def import_run(self, count: int) -> None:
        assert self.caller.import_run(self.server.runs, count)

    @rule(times=st.integers(1, 3))
    def append(self, times: int) -> None:
        made = [record(self.acks.name("foreign"), source="dashboard") for _ in range(times)]
        for content in made:
            with self.server.candidates.open("ab", buffering=0) as file:
                file.write(json.dumps(content).encode() + b"\n")
        eventually(lambda: all(get(self.server, content["id"]) for content in made))
        self.acks.add(made)

    @rule(decisions=st.integers(0, 5), seed=st.integers(0, 1_000))
    def rewrite(self, decisions: int, seed: int) -> None:
        """A program reads all, we decide meanwhile, and it writes what it read, with a record of its own."""
        files_agree(self.acks, self.server.data)
        added = record(self.acks.name("added"))
        contents = [json.loads(line) for line in self.server.candidates.read_text().split("\n") if line.strip()]
        dice = random.Random(seed)
        assert all([self.caller.act(dice) for _ in range(decisions)])
        write_records(self.server.candidates, [*contents, added])
        eventually(lambda: get(self.server, added["id"]))
        self.acks.add([added])

    @rule(wanted=st.integers(5, 40))
    def kill(self, wanted: int) -> None:
        with Load(self.acks, self.server.address, threads=2) as load:
            load.wait_for(wanted)
            self.server.kill()
        self.caller.close()
        self.start()
        settle(self.acks, self.server)

    @rule(delete_ledger=st.booleans())
    def stop_and_start(self, delete_ledger: bool) -> None:
        check(self.acks, self.server, asked=1_000)
        self.caller.close()
        assert self.server.stop() == 0
        files_agree(self.acks, self.server.data, within=0)
        if delete_ledger:
            shutil.rmtree(self.server.data / ".avocet")
            self.acks.forget_the_past()
        self.start()


@pytest.mark.timeout(120 + EXAMPLES * 60)
def test_any_order_of_events_leaves_what_the_ledger_of_acks_says() -> None:
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=not WHOLE,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(ServerMachine, settings=how)
