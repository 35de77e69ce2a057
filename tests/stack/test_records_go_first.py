"""A deployment's record is deleted before all that it speaks for.

Pulumi deletes first what nothing depends on, so whatever no record needs is gone before its hooks
have looked for messages and workers.
"""

import pytest

# The first test that asks for a stack waits until it is recorded.
pytestmark = pytest.mark.timeout(300)

DEPLOYMENT = "taskpacks:stack:PackDeployment"


def records(recorded):
    """The record of each deployment, by the deployment's name."""
    return {
        each.name.removesuffix("-record"): each
        for each in recorded.registrations
        if each.name.endswith("-record")
    }


def needed(recorded, record):
    """All that there is for as long as a record is."""
    made = {each.urn: each for each in recorded.registrations}
    found, waiting = set(), [record.urn]
    while waiting:
        urn = waiting.pop()
        if urn in made and urn not in found:  # else a component, which is nothing in the cloud
            found.add(urn)
            waiting += [*made[urn].dependencies, made[urn].parent]
    return found


def test_all_that_a_deployment_has_stays_for_as_long_as_its_record(recorded):
    for deployment, record in records(recorded).items():
        own = {
            each.urn
            for each in recorded.registrations
            if f"{DEPLOYMENT}$" in each.urn and each.parent.endswith(f"::{deployment}")
        }
        assert len(own) > 10
        assert own - needed(recorded, record) == set()


def test_what_deployments_share_stays_for_as_long_as_any_record(recorded):
    made = records(recorded).values()
    own = {DEPLOYMENT, "taskpacks:stack:Machines"}
    shared = {
        each.urn
        for each in recorded.registrations
        if not own & set(each.urn.split("::")[2].split("$"))
    }
    # It is deleted first of all, and refuses while it is attached.
    (stacks_policy,) = [urn for urn in shared if urn.endswith("::producer-policy")]
    assert len(shared) > 10
    for record in made:
        assert shared - needed(recorded, record) == {stacks_policy}


def test_machines_stay_for_as_long_as_a_record_that_needs_them(recorded):
    everything = {each.urn for each in recorded.registrations if "producer-policy" not in each.urn}
    found = set().union(*(needed(recorded, each) for each in records(recorded).values()))
    assert everything == found
