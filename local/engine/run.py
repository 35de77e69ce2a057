"""One run of a program against the state: what each registration leads to.

Create what is new, update in place what can be, replace what cannot, leave alone what is the
same; and when the program has ended well, delete what it did not mention.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from local.engine.diff import changed_properties, keep_ignored, replacing
from local.engine.errors import DuplicateUrnError, EngineError, UnsupportedError
from local.engine.goal import Goal, delete_first, refuse_protected, refuse_secret_identity
from local.engine.handlers import HANDLERS, Handler, handler_for
from local.engine.hooks import Hooks
from local.engine.properties import check_known
from local.engine.state import Record, State, deletion_order
from local.engine.steps import Registered, Steps, Wanted, sealed
from local.engine.summary import Action, Change, Operation
from local.engine.urns import STACK_TYPE, alias_urns, make_urn
from local.engine.wire import UNKNOWN, masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.engine.cloud import Cloud
    from local.engine.project import Project

Values = dict[str, Any]


class Run:
    """Takes registrations from any thread, one at a time.

    One lock is held from the first look at the state to the last save: registrations are
    quick, and a replacement must see its dependants stand still. After the first error
    nothing more is done; that error is the run's.
    """

    def __init__(
        self,
        project: Project,
        cloud: Cloud,
        state: State,
        *,
        dry_run: bool,
        destroying: bool = False,
    ) -> None:
        """Starts from a state.

        Args:
            project: Whose program runs.
            cloud: Where its resources are.
            state: What is known of them.
            dry_run: Nothing is done in the cloud.
            destroying: The program runs for its hooks only: what it registers is answered
                recorded, and when it has ended everything is deleted.
        """
        self._project = project
        self._cloud = cloud
        self._state = state
        self._steps = Steps(cloud, state)
        self._dry_run = dry_run
        self._destroying = destroying
        self.hooks = Hooks()
        self.lock = threading.Lock()
        self._seen: set[str] = set()
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._deleted_early: dict[str, tuple[str, ...]] = {}
        self._stack_outputs: Values = {}
        self.changes: dict[str, Change] = {}
        self.operations: list[Operation] = []
        self.error: BaseException | None = None

    @property
    def stack_outputs(self) -> Values:
        """Returns what the program exported in this run, for people to read."""
        return self._stack_outputs

    def register(self, goal: Goal) -> Registered:
        """Brings one resource to where the program wants it.

        Raises:
            EngineError: Anything that is refused; the state holds what was done before.
        """
        with self.lock:
            if self.error is not None:
                raise EngineError("The run has stopped after an error.") from self.error
            try:
                return self._recall(goal) if self._destroying else self._register(goal)
            except BaseException as error:
                self.error = error
                raise

    def register_outputs(self, urn: str, values: Values, secrets: frozenset[str]) -> None:
        """Records what a component shows; the stack's outputs count when the run ends well."""
        with self.lock:
            record = self._state.resources.get(urn)
            if record is None or self._destroying:
                return  # a preview of something new; or all of it goes
            if record.type == STACK_TYPE:
                self._stack_outputs = masked(values, secrets)
                return
            outputs = {name: value for name, value in values.items() if name not in secrets}
            if (record.outputs, record.secret_outputs) != (outputs, sorted(secrets)):
                record.outputs, record.secret_outputs = outputs, sorted(secrets)
                self._save()

    def finish(self) -> None:
        """Deletes what the program did not mention, dependants first.

        Raises:
            ProtectedError: Some of it is protected; nothing is deleted then.
            HookError: A hook refused; what was deleted before is forgotten.
        """
        with self.lock:
            gone = [
                record for urn, record in self._state.resources.items() if urn not in self._seen
            ]
            try:
                refuse_protected(gone, "is not in the program any more")
                self._delete([*gone, *self._state.pending])
            except BaseException as error:
                self.error = error
                raise
            if not self._dry_run:
                self._state.stack_outputs = self._stack_outputs
                self._state.save()

    def _delete(self, records: Iterable[Record], verb: str = "delete") -> None:
        """Deletes records in order and forgets each as it goes."""
        for record in deletion_order(records):
            self.hooks.before_delete(record, dry_run=self._dry_run)
            if not self._dry_run:
                self._steps.delete(record)
            pending = [item for item in self._state.pending if item is not record]
            if len(pending) < len(self._state.pending):
                self._state.pending = pending
                self._did("delete-replaced", record.urn)
            else:
                del self._state.resources[record.urn]
                self.changes[record.urn] = Change(record.urn, Action.DELETED)
                self._did(verb, record.urn)
            self._save()

    def _save(self) -> None:
        if not self._dry_run:
            self._state.save()

    def _urn(self, goal: Goal) -> str:
        return make_urn(
            stack=self._project.stack,
            project=self._project.name,
            parent=goal.parent,
            type_token=goal.type,
            name=goal.name,
        )

    def _register(self, goal: Goal) -> Registered:
        urn = self._urn(goal)
        if urn in self._seen:
            raise DuplicateUrnError(
                f"Two resources have the URN {urn}: type {goal.type}, name '{goal.name}', the "
                "same parent. Give one of them another name."
            )
        self._seen.add(urn)
        old = self._recorded(urn, goal)
        record = Record(
            urn=urn,
            type=goal.type,
            custom=goal.custom,
            parent=goal.parent,
            dependencies=sorted(goal.dependencies),
            property_dependencies={
                name: sorted(urns) for name, urns in sorted(goal.property_dependencies.items())
            },
            protect=goal.protect,
            retain_on_delete=goal.retain_on_delete,
            before_delete=list(goal.before_delete),
        )
        return (self._custom if goal.custom else self._component)(goal, record, old)

    def _recall(self, goal: Goal) -> Registered:
        """A resource as it is recorded; of one that is not, nothing is known."""
        urn = self._urn(goal)
        old = self._state.resources.get(urn)
        if old is None or not goal.custom:
            return Registered(urn, "", goal.inputs, goal.secrets)
        # As the real engine does: what the program says now of how it is deleted counts
        # (GenerateSteps in pkg/resource/deploy/step_generator.go, under `destroyMode`).
        old.retain_on_delete = goal.retain_on_delete
        old.before_delete = list(goal.before_delete)
        return Registered(urn, old.id, {**old.outputs, **goal.inputs}, goal.secrets)

    def _recorded(self, urn: str, goal: Goal) -> Record | None:
        """Finds the resource in the state, under its URN or one that it had before."""
        former = alias_urns(
            goal.aliases,
            stack=self._project.stack,
            project=self._project.name,
            parent=goal.parent,
            parent_aliases=self._aliases.get(goal.parent, ()),
            type_token=goal.type,
            name=goal.name,
        )
        self._aliases[urn] = former
        if urn in self._state.resources:
            return self._state.resources[urn]
        for alias in former:
            record = self._state.resources.get(alias)
            if record is None or alias in self._seen:
                continue
            if record.custom and record.type != goal.type:
                raise UnsupportedError(
                    f"{urn}: the alias {alias} would turn a {record.type} into a {goal.type}; "
                    "here an alias can change name, parent, stack and project only."
                )
            renamed = self._state.rename(alias, urn)
            renamed.type = goal.type
            self._save()
            return renamed
        return None

    def _component(self, goal: Goal, record: Record, old: Record | None) -> Registered:
        """Records a component; it is nothing in the cloud."""
        record.inputs = {
            name: value for name, value in goal.inputs.items() if name not in goal.secrets
        }
        if old is None:
            self._note(record.urn, Action.CREATED)
            self._did("create", record.urn)
        else:
            record.outputs, record.secret_outputs = old.outputs, old.secret_outputs
            changed = changed_properties({}, old.inputs, record.inputs)
            self._note(record.urn, Action.UPDATED if changed else Action.UNCHANGED, changed)
            if changed:
                self._did("update", record.urn)
        if record != old:
            self._state.resources[record.urn] = record
            self._save()
        return Registered(record.urn, "", goal.inputs, goal.secrets)

    def _custom(self, goal: Goal, record: Record, old: Record | None) -> Registered:
        handler = handler_for(goal.type, goal.name)
        check_known(f"{goal.type} '{goal.name}'", handler.properties, goal.inputs)
        refuse_secret_identity(handler, goal)
        subject = f"{goal.type} '{goal.name}'"
        inputs = goal.inputs
        if old is not None:
            inputs = keep_ignored(old.inputs, inputs, goal.ignore_changes, subject)
        inputs, record.auto_named = self._named(handler, goal, inputs, old)
        wanted = Wanted(handler, inputs, goal.secrets, goal.secret_outputs, record)
        if old is None:
            why = self._deleted_early.get(record.urn)
            self._note(record.urn, Action.CREATED if why is None else Action.REPLACED, why or ())
            self._did("create" if why is None else "create-replacement", record.urn)
            return self._preview(wanted) if self._dry_run else self._steps.create(wanted)
        changed = changed_properties(handler.properties, old.inputs, inputs)
        reasons = handler.replaced_by(old.inputs, inputs, changed)
        reasons |= replacing(goal.replace_on_changes, changed, subject)
        if reasons:
            self._note(record.urn, Action.REPLACED, changed)
            return self._replace(goal, wanted, old, reasons)
        if old.incomplete:
            changed |= inputs.keys() - handler.replaces
        if changed or old.incomplete:
            self._note(record.urn, Action.UPDATED, changed)
            self._did("update", record.urn)
            if self._dry_run:
                return self._preview(wanted, old)
            return self._steps.update(wanted, old, changed)
        self._note(record.urn, Action.UNCHANGED)
        return self._preview_kept(wanted, old) if self._dry_run else self._steps.keep(wanted, old)

    def _named(
        self, handler: Handler, goal: Goal, inputs: Values, old: Record | None
    ) -> tuple[Values, bool]:
        """Fills in the name that the program leaves to us; it stays until a replacement."""
        if handler.auto_name is None or handler.auto_name.property in goal.inputs:
            return inputs, False
        key = handler.auto_name.property
        if old is not None and old.auto_named:
            return {**inputs, key: old.inputs[key]}, True
        if old is not None and key in inputs:  # ignored: the recorded name was explicit
            return inputs, False
        return {**inputs, key: self._new_name(handler, goal)}, True

    def _new_name(self, handler: Handler, goal: Goal) -> str:
        if self._dry_run or handler.auto_name is None:
            return UNKNOWN  # names are random: a preview's would not be the later one
        return handler.auto_name.new(goal.name)

    def _replace(
        self, goal: Goal, wanted: Wanted, old: Record, reasons: frozenset[str]
    ) -> Registered:
        handler, record = wanted.handler, wanted.record
        why = f"would be replaced, because {', '.join(sorted(reasons))} changed"
        if old.protect and goal.protect:
            refuse_protected([old], why)
        if record.auto_named and handler.auto_name:
            name = self._new_name(handler, goal)
            wanted.inputs[handler.auto_name.property] = name
        if delete_first(goal, wanted, old):
            dependants = self._dependants(old.urn)
            refuse_protected(dependants, "depends on something that is replaced")
            self._delete([*dependants, old], "delete-replaced")
            self.changes[record.urn] = Change(
                record.urn, Action.REPLACED, self.changes[record.urn].properties or tuple(reasons)
            )
            self._did("create-replacement", record.urn)
            return self._preview(wanted) if self._dry_run else self._steps.create(wanted)
        self._did("create-replacement", record.urn)
        if self._dry_run:
            self._state.pending.append(old)
            return self._preview(wanted)
        return self._steps.create(wanted, replaced=old)

    def _dependants(self, urn: str) -> list[Record]:
        """Those that must be replaced with it: it is in a property that identifies them."""
        doomed = {urn}
        found: dict[str, Record] = {}
        growing = True
        while growing:
            growing = False
            for record in self._state.resources.values():
                if record.urn in doomed or record.urn in self._seen or not record.custom:
                    continue
                identifying = HANDLERS[record.type].replaces
                why = tuple(
                    name
                    for name, urns in record.property_dependencies.items()
                    if name in identifying and doomed.intersection(urns)
                )
                if why:
                    doomed.add(record.urn)
                    found[record.urn] = record
                    self._deleted_early[record.urn] = why
                    growing = True
        return list(found.values())

    def _preview(self, wanted: Wanted, old: Record | None = None) -> Registered:
        """Returns what can be known of a resource before it is made, or before it is updated."""
        record, handler = wanted.record, wanted.handler
        record.inputs = sealed(wanted, old.inputs if old else {})
        self._state.resources[record.urn] = record
        hidden = wanted.secrets | wanted.secret_outputs
        if old is None:
            return Registered(record.urn, "", wanted.inputs, hidden)
        kept = {name: value for name, value in old.outputs.items() if name not in handler.volatile}
        resource_id = "" if "id" in handler.volatile else old.id
        return Registered(record.urn, resource_id, {**kept, **wanted.inputs}, hidden)

    def _preview_kept(self, wanted: Wanted, old: Record) -> Registered:
        hidden = wanted.secrets | wanted.secret_outputs | set(old.secret_outputs)
        return Registered(old.urn, old.id, {**old.outputs, **wanted.inputs}, hidden)

    def _note(self, urn: str, action: Action, properties: Iterable[str] = ()) -> None:
        self.changes[urn] = Change(urn, action, tuple(sorted(properties)))

    def _did(self, verb: str, urn: str) -> None:
        self.operations.append(Operation(verb, urn))
